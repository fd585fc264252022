"""Writes TIFF in compressed tiles, gathering one row of tiles at a time. BigTIFF if the file may pass 4 GB."""

from __future__ import annotations

import json
import struct
import zlib
from typing import BinaryIO

import numpy as np

from zvae_tiled.sinks.texts import MOST_BYTES, size_of
from zvae_tiled.sinks.writer import DTYPES, Samples, Shape, Writer

TILE = 256
"""Rows and columns of a tile. Smaller pictures have smaller tiles. The format requires multiples of 16."""

_SHORT, _LONG, _LONG8, _TEXT, _RATIO = 3, 4, 16, 2, 5
_CODES = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}


class Tiff(Writer):
    """Writes the directory at the end, when the tiles' places are known. The header points to it."""

    bits = (8, 16, 32)
    channels = (1, 2, 3, 4)
    seeks = True
    text_room = MOST_BYTES

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write a header without a directory, to be replaced at the end."""
        super().__init__(file, shape, bits, notes)
        self._notes = notes
        self._big = (self.largest(shape, bits) + size_of(notes)) >> 32 > 0
        self._tile = tile_shape(shape)
        self._rows = np.zeros((self._tile[0], _up(shape[1], self._tile[1]), shape[2]), DTYPES[bits])
        self._filled = 0
        self._places: list[int] = []
        self._sizes: list[int] = []
        file.write(self._header(0))

    @staticmethod
    def gathered(shape: Shape, bits: int) -> int:
        """Return the bytes of a row of tiles, and of the tile that is compressed."""
        height, width = tile_shape(shape)
        return height * (_up(shape[1], width) + 4 * width) * shape[2] * bits // 8

    @classmethod
    def largest(cls, shape: Shape, bits: int) -> int:
        """Return the most bytes of whole tiles, and of the tables of their places and sizes."""
        height, width = tile_shape(shape)
        whole = _up(shape[0], height), _up(shape[1], width), shape[2]
        return super().largest(whole, bits) + whole[0] // height * (whole[1] // width) * 16

    def write(self, rows: Samples) -> None:
        """Gather rows, and write them as tiles when they fill a row of tiles."""
        while len(rows):
            count = min(len(rows), self._tile[0] - self._filled)
            self._rows[self._filled : self._filled + count, : self.shape[1]] = rows[:count]
            self._filled += count
            rows = rows[count:]
            if self._filled == self._tile[0]:
                self._write_tiles()

    def finish(self) -> None:
        """Write the last tiles and the directory, and point the header to it."""
        if self._filled:
            self._rows[self._filled :] = 0
            self._write_tiles()
        self._align()
        place = self._write_directory()
        self.file.seek(0)
        self.file.write(self._header(place))

    def _write_tiles(self) -> None:
        for left in range(0, self._rows.shape[1], self._tile[1]):
            tile = self._rows[:, left : left + self._tile[1]].copy()
            if self.bits_used != 32:  # the horizontal predictor: differences from the pixel to the left
                tile[:, 1:] -= self._rows[:, left : left + self._tile[1] - 1]
            deflate = zlib.compressobj(strategy=zlib.Z_RLE)  # as in png.py
            self._places.append(self.file.tell())
            self.file.write(deflate.compress(tile.data))
            self.file.write(deflate.flush())
            self._sizes.append(self.file.tell() - self._places[-1])
        self._filled = 0

    def _header(self, directory: int) -> bytes:
        if self._big:
            return struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory)
        return struct.pack("<2sHI", b"II", 42, directory)

    def _fields(self) -> list[tuple[int, int, list[int] | bytes]]:
        """Return tag, type and values of each field, in the order of the tags."""
        height, width, channels = self.shape
        place = _LONG8 if self._big else _LONG
        fields: list[tuple[int, int, list[int] | bytes]] = [
            (256, _LONG, [width]),
            (257, _LONG, [height]),
            (258, _SHORT, [self.bits_used] * channels),
            (259, _SHORT, [8]),  # deflate
            (262, _SHORT, [2 if channels > 2 else 1]),  # RGB, or grey that begins at black
            (270, _TEXT, json.dumps(self._notes).encode() + b"\0"),
            (277, _SHORT, [channels]),
            (282, _RATIO, struct.pack("<II", 72, 1)),
            (283, _RATIO, struct.pack("<II", 72, 1)),
            (284, _SHORT, [1]),  # the channels of a pixel are stored together
            (296, _SHORT, [2]),  # inches: baseline readers may require a resolution
            (305, _TEXT, self._notes.get("Software", "").encode("ascii", "replace") + b"\0"),
            (317, _SHORT, [1 if self.bits_used == 32 else 2]),
            (322, _LONG, [self._tile[1]]),
            (323, _LONG, [self._tile[0]]),
            (324, place, self._places),
            (325, place, self._sizes),
            (339, _SHORT, [3 if self.bits_used == 32 else 1] * channels),
        ]
        if channels in (2, 4):
            fields.insert(-1, (338, _SHORT, [2]))  # alpha, not premultiplied
        return fields

    def _write_directory(self) -> int:
        """Write the values that do not fit into their field, then the fields. Return the offset of the fields."""
        count, entry, inline = ("<Q", "<HHQ", 8) if self._big else ("<H", "<HHI", 4)
        entries = []
        for tag, kind, values in self._fields():
            if isinstance(values, bytes):
                data, number = values, 1 if kind == _RATIO else len(values)
            else:
                data, number = struct.pack(f"<{len(values)}{_CODES[kind]}", *values), len(values)
            if len(data) > inline:
                self._align()
                at = self.file.tell()
                self.file.write(data)
                data = at.to_bytes(inline, "little")
            entries.append(struct.pack(entry, tag, kind, number) + data.ljust(inline, b"\0"))
        self._align()
        place = self.file.tell()
        self.file.write(struct.pack(count, len(entries)) + b"".join(entries) + bytes(inline))  # no directory follows
        return place

    def _align(self) -> None:
        self.file.write(bytes(-self.file.tell() % 8))


def tile_shape(shape: Shape) -> tuple[int, int]:
    """Return the rows and columns of a tile for a picture of this shape."""
    return min(TILE, _up(shape[0], 16)), min(TILE, _up(shape[1], 16))


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
