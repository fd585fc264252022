"""Writes PNG of 8 or 16 bits, compressed row by row, in memory that does not grow with the height."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

from zvae_tiled.sinks.texts import MOST_BYTES
from zvae_tiled.sinks.writer import Samples, Shape, Writer

_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour types by channels: grey, grey with alpha, RGB, RGB with alpha."""

_AVERAGE = 3
"""The number of the filter that stores each byte's difference from the mean of the bytes to the left and above.

With run lengths alone (Z_RLE), files of grainy pictures are smaller than with zlib's level 6, and several times as
fast to write: benchmarks/pictures.py, docs/files.md.
"""


class Png(Writer):
    """Filters each row with the row above, and compresses it at once."""

    bits = (8, 16)
    channels = tuple(_COLOURS)
    text_room = MOST_BYTES

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write the header, the colour space and the notes."""
        super().__init__(file, shape, bits, notes)
        height, width, channels = shape
        self._pixel = channels * bits // 8
        self._above = np.zeros(width * self._pixel, np.uint8)
        self._deflate = zlib.compressobj(strategy=zlib.Z_RLE)
        header = struct.pack(">IIBBBBB", width, height, bits, _COLOURS[channels], 0, 0, 0)
        file.write(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header))
        file.write(_chunk(b"sRGB", bytes(1)))  # perceptual
        for keyword, text in notes.items():
            file.write(_text_chunk(keyword, text))

    def write(self, rows: Samples) -> None:
        """Filter and compress."""
        stored = rows.astype(rows.dtype.newbyteorder(">"), copy=False).view(np.uint8).reshape(len(rows), -1)
        above = np.concatenate([self._above[None], stored[:-1]])
        left = np.zeros_like(stored)
        left[:, self._pixel :] = stored[:, : -self._pixel]
        filtered = np.empty((len(rows), stored.shape[1] + 1), np.uint8)
        filtered[:, 0] = _AVERAGE
        # (a & b) + ((a ^ b) >> 1) is the mean of two bytes, rounded down. It needs no wider type.
        np.subtract(stored, (left & above) + ((left ^ above) >> 1), out=filtered[:, 1:])
        self._above = stored[-1].copy()
        self._put(self._deflate.compress(filtered.data))

    def finish(self) -> None:
        """Write the rest of the compressed data, and the end of the file."""
        self._put(self._deflate.flush())
        self.file.write(_chunk(b"IEND", b""))

    def _put(self, data: bytes) -> None:
        if data:
            self.file.write(_chunk(b"IDAT", data))


def _text_chunk(keyword: str, text: str) -> bytes:
    """Return a tEXt, as ComfyUI reads its workflow, or an iTXt for text beyond ASCII."""
    if text.isascii():
        return _chunk(b"tEXt", keyword.encode() + bytes(1) + text.encode())
    return _chunk(b"iTXt", keyword.encode() + bytes(5) + text.encode())  # not compressed, no language, no translation


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
