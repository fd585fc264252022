"""Blends tiles: adds them up with their weights, and returns each row once no later tile overlaps it."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.evaluated import evaluate
from zvae_tiled.devices.heap import make_room
from zvae_tiled.planner.grid import Span, Weights

Rows = np.ndarray[Any, np.dtype[np.float32]]


class Blender:
    """Adds up the tiles of a grid, one row of tiles at a time. It holds only the pixels of that row."""

    def __init__(self, rows: tuple[Span, ...], columns: tuple[Span, ...], scale: int, channels: int, ramp: str) -> None:
        """Take a grid.

        Args:
            rows: The tiles' spans from top to bottom.
            columns: The tiles' spans from left to right.
            scale: Pixels per latent, in each direction.
            channels: Channels of the picture.
            ramp: How weights grow across an overlap.
        """
        self._rows, self._columns, self._scale = rows, columns, scale
        self._down, self._across = Weights(rows, scale, ramp), Weights(columns, scale, ramp)
        self._line = (columns[-1].stop * scale, channels)
        self._open = zeros((0, *self._line))

    def begin(self, row: int) -> None:
        """Start a row of tiles. Only its overlap with the row above is kept: all other rows were returned already."""
        span = self._rows[row]
        shared = self._rows[row - 1].stop - span.start if row else 0
        kept = zeros((shared * self._scale, *self._line))
        kept[:] = self._open[len(self._open) - len(kept) :]
        self._open = kept[:0]  # frees the old array before the next is allocated
        self._open = zeros(((span.stop - span.start) * self._scale, *self._line))
        self._open[: len(kept)] = kept

    def add(self, row: int, column: int, first: int, pixels: Rows) -> Rows:
        """Add rows of a tile, and return the picture rows that are now finished.

        Args:
            row: Index of the row of tiles.
            column: Index of the column. Columns must come from left to right.
            first: The first of these rows, in pixels from the top of the rows that the tile reads.
            pixels: The rows, (rows, width that the tile reads, channels).
        """
        down, across, scale = self._rows[row], self._columns[column], self._scale
        begin = first - (down.start - down.low) * scale  # from the first row that the tile writes
        low, high = max(begin, 0), min(begin + len(pixels), (down.stop - down.start) * scale)
        if low >= high:
            return self._open[:0]
        left = (across.start - across.low) * scale
        wide = (across.stop - across.start) * scale
        part = pixels[low - begin : high - begin, left : left + wide]
        make_room(2 * part.nbytes)
        by_row, by_column = (each.astype(np.float32) for each in (self._down.of(row), self._across.of(column)))
        weight = by_row[low:high, None] * by_column[None, :]
        columns = slice(across.start * scale, across.stop * scale)
        self._open[low:high, columns] += part * weight[:, :, None]
        if column < len(self._columns) - 1:
            return self._open[:0]
        below = self._rows[row + 1].start if row < len(self._rows) - 1 else down.stop
        return self._open[low : max(low, min(high, (below - down.start) * scale))]


def zeros(shape: tuple[int, ...]) -> Rows:
    """Return zeros allocated by MLX, so that its counter includes them, and so does the report."""
    make_room(4 * math.prod(shape))
    array = mx.zeros(shape, dtype=mx.float32)
    evaluate(array)
    return np.asarray(array)
