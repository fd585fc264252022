"""Rows of tiles of a picture and of its halves, as rows pass: each level gathers one row of tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from zvae_tiled.sinks.halving import STEP, halved, halved_shape
from zvae_tiled.sinks.writer import DTYPES, Samples, Shape

Full = Callable[[int, int, Samples], None]
"""Takes the number of a level, the number of a row of tiles, and its rows. They are overwritten afterwards."""


class Levels:
    """Gathers rows of tiles. Each that is full is handed over, and halved into the next level."""

    def __init__(self, shapes: Sequence[Shape], tile: int, bits: int, full: Full, overlap: int = 0) -> None:
        """Prepare for a picture.

        Args:
            shapes: The shape of each level, each half of the one before.
            tile: Rows of a tile, an even number.
            bits: Bits of a channel.
            full: Takes rows of tiles.
            overlap: Rows of the row of tiles above, and of the one below, that a row of tiles also has.
        """
        self._tile = tile
        self._overlap = overlap
        self._full = full
        self._rows = [np.empty((min(tile + 2 * overlap, height), *rest), DTYPES[bits]) for height, *rest in shapes]
        self._filled = [0] * len(shapes)
        self._above = [0] * len(shapes)  # gathered rows that belong to the row of tiles above
        self._done = [0] * len(shapes)
        self._left = [shape[0] for shape in shapes]

    def skip(self, rows: int) -> None:
        """Leave out the first rows of a picture without halves: whole rows of tiles."""
        self._done[0], self._left[0] = rows // self._tile, self._left[0] - rows

    def write(self, rows: Samples, level: int = 0) -> None:
        """Take the next rows of a level."""
        while len(rows):
            wanted = self._above[level] + self._tile + self._overlap - self._filled[level]
            count = min(len(rows), wanted)
            self._rows[level][self._filled[level] : self._filled[level] + count] = rows[:count]
            self._filled[level] += count
            self._left[level] -= count
            rows = rows[count:]
            if count == wanted:
                self._pass_on(level)
            while not self._left[level] and self._filled[level] > self._above[level]:
                self._pass_on(level)

    def _pass_on(self, level: int) -> None:
        rows, above = self._rows[level][: self._filled[level]], self._above[level]
        end = above + min(self._tile, len(rows) - above)
        self._full(level, self._done[level], rows[: end + self._overlap])
        self._done[level] += 1
        if level + 1 < len(self._rows):
            for top in range(above, end, STEP):
                self.write(halved(rows[top : min(top + STEP, end)]), level + 1)
        kept = rows[end - self._overlap :]
        self._rows[level][: len(kept)] = kept
        self._filled[level], self._above[level] = len(kept), self._overlap


def level_shapes(shape: Shape, least: int) -> list[Shape]:
    """Return the shapes of a picture and of its halves, down to one whose sides are at most `least`."""
    shapes = [shape]
    while max(shapes[-1][:2]) > least:
        shapes.append(halved_shape(shapes[-1]))
    return shapes


def gathered_levels(shapes: Sequence[Shape], tile: int, bits: int) -> int:
    """Return the bytes that `Levels` gathers, and those of the rows that are halved at a time."""
    lines = sum(min(tile, height) * width * channels for height, width, channels in shapes)
    # Sums of twice the bytes, four quarters of them, and the means: in all levels below each other.
    lines += 4 * STEP * shapes[0][1] * shapes[0][2] if len(shapes) > 1 else 0
    return lines * bits // 8
