"""Writes TIFF in tiles, compressed on all cores: the picture, or a pyramid of it and its halves."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, BinaryIO, ClassVar

import numpy as np

from zvae_tiled.sinks.crew import STATE, Crew, at_work
from zvae_tiled.sinks.levels import Levels, gathered_levels, level_shapes
from zvae_tiled.sinks.texts import MOST_BYTES, size_of
from zvae_tiled.sinks.tiff_directory import (
    HALF,
    LONG,
    LONG8,
    Field,
    align,
    notes_fields,
    picture_fields,
    tiff_header,
    write_directory,
)
from zvae_tiled.sinks.writer import Samples, Shape, Writer, cut_off

TILE = 256
"""Rows and columns of a tile. Smaller pictures have smaller tiles. The format requires multiples of 16."""

_COPIES = 4
"""A tile's copies while it is compressed: stored, as differences, and the compressed one twice."""

_Tile = tuple[int, tuple[bytes, ...]]
"""The level of a tile, and the compressed tile."""


class Tiff(Writer):
    """Writes directories at the end, when the tiles' places are known. BigTIFF if the file may pass 4 GB.

    Attributes:
        pyramid: Whether the halves of the picture are written, too.
    """

    bits = (8, 16, 32)
    channels = (1, 2, 3, 4)
    seeks = True
    resumes = True
    text_room = MOST_BYTES
    pyramid: ClassVar[bool] = False

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write a header without a directory, to be replaced at the end."""
        super().__init__(file, shape, bits, notes)
        self._notes = notes
        self._big = self.pyramid or (self.largest(shape, bits) + size_of(notes)) >> 32 > 0
        self._shapes = self._level_shapes(shape)
        self._tile = tile_shape(shape)
        self._places: list[list[int]] = [[] for _ in self._shapes]
        self._sizes: list[list[int]] = [[] for _ in self._shapes]
        self._levels = Levels(self._shapes, self._tile[0], bits, self._hand_over)
        self._crew = Crew[_Tile](_tiles_at_work(shape, bits), self._put)
        self._noted = 0
        file.write(tiff_header(self._big, 0))

    @classmethod
    def gathered(cls, shape: Shape, bits: int) -> int:
        """Return the bytes of rows of tiles, and of the tiles that are compressed."""
        height, width = tile_shape(shape)
        tiles = _tiles_at_work(shape, bits) * (_COPIES * height * width * shape[2] * bits // 8 + STATE)
        return gathered_levels(cls._level_shapes(shape), height, bits) + tiles

    @classmethod
    def largest(cls, shape: Shape, bits: int) -> int:
        """Return the most bytes of whole tiles, and of the tables of their places and sizes."""
        (height, width), total = tile_shape(shape), 0
        for level in cls._level_shapes(shape):
            whole = _up(level[0], height), _up(level[1], width), shape[2]
            total += super().largest(whole, bits) + whole[0] // height * (whole[1] // width) * 16
        return total

    @classmethod
    def _level_shapes(cls, shape: Shape) -> list[Shape]:
        return level_shapes(shape, TILE) if cls.pyramid else [shape]

    def write(self, rows: Samples) -> None:
        """Gather rows, and write them as tiles when they fill a row of tiles."""
        self._levels.write(rows)

    def finish(self) -> None:
        """Write the directories, and point the header to the first."""
        self._crew.finish()
        align(self.file)
        halves = [self._write_directory(level, HALF) for level in range(1, len(self._shapes))]
        place = self._write_directory(0, notes_fields(self._notes, halves))
        self.file.seek(0)
        self.file.write(tiff_header(self._big, place))

    def state(self) -> dict[str, Any] | None:
        """Return the bytes of the tiles of whole rows of tiles that are new, but for the last row of the picture."""
        across, down = -(-self.shape[1] // self._tile[1]), -(-self.shape[0] // self._tile[0])
        noted, self._noted = self._noted, min(len(self._sizes[0]) // across, down - 1) * across
        return {"tiles": self._sizes[0][noted : self._noted]} if self._noted > noted else None

    def resume(self, states: Sequence[dict[str, Any]]) -> int:
        """Go on with a new row of tiles."""
        sizes = [int(size) for state in states for size in state["tiles"]]
        *self._places[0], end = accumulate(sizes, initial=self.file.tell())
        cut_off(self.file, end)
        self._sizes[0], self._noted = sizes, len(sizes)
        row = len(sizes) // -(-self.shape[1] // self._tile[1]) * self._tile[0]
        self._levels.skip(row)
        return row

    def stop(self) -> None:
        """End the threads."""
        self._crew.stop()

    def _hand_over(self, level: int, number: int, rows: Samples) -> None:
        del number  # tiles are listed in the order in which they are written
        for left in range(0, rows.shape[1], self._tile[1]):
            part = rows[:, left : left + self._tile[1]]
            tile = np.zeros((*self._tile, rows.shape[2]), rows.dtype)
            tile[: len(part), : part.shape[1]] = part
            self._crew.give(partial(_compressed, level, tile))

    def _put(self, tile: _Tile) -> None:
        level, pieces = tile
        self._places[level].append(self.file.tell())
        for piece in pieces:
            self.file.write(piece)
        self._sizes[level].append(sum(map(len, pieces)))

    def _write_directory(self, level: int, more: list[Field]) -> int:
        """Write the directory of a level, with more fields, and return its place."""
        fields = picture_fields(self._shapes[level], self._tile, self.bits_used)
        place = LONG8 if self._big else LONG
        tiles: list[Field] = [(324, place, self._places[level]), (325, place, self._sizes[level])]
        return write_directory(self.file, fields + tiles + more, self._big)


class PyramidTiff(Tiff):
    """Writes a BigTIFF whose SubIFDs are the halves of the picture, down to one of a single tile."""

    pyramid = True
    resumes = False  # rows of its halves are gathered that are in no tile yet


def tile_shape(shape: Shape) -> tuple[int, int]:
    """Return the rows and columns of a tile for a picture of this shape."""
    return min(TILE, _up(shape[0], 16)), min(TILE, _up(shape[1], 16))


def _tiles_at_work(shape: Shape, bits: int) -> int:
    height, width = tile_shape(shape)
    return at_work(height * width * shape[2] * bits // 8, -(-shape[0] // height) * -(-shape[1] // width))


def _compressed(level: int, tile: Samples) -> _Tile:
    """Return the level, and the compressed tile."""
    stored = tile
    if tile.dtype.kind != "f":  # the horizontal predictor: differences from the pixel to the left
        stored = tile.copy()
        stored[:, 1:] -= tile[:, :-1]
    deflate = zlib.compressobj(strategy=zlib.Z_RLE)  # as in png_parts.py
    return level, (deflate.compress(stored.data), deflate.flush())


def _up(count: int, step: int) -> int:
    return -(-count // step) * step
