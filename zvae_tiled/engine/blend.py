"""Feather-blending: tiles added up by their weights; rows are handed on as soon as no later tile touches them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zvae_tiled.plan.grid import Span, weights

Rows = np.ndarray[Any, np.dtype[np.float32]]


class Blender:
    """Adds up the tiles of a grid, a row of tiles at a time."""

    def __init__(self, rows: tuple[Span, ...], columns: tuple[Span, ...], scale: int, channels: int, ramp: str) -> None:
        """Get ready for a picture.

        Args:
            rows: The tiles' spans from top to bottom.
            columns: Their spans from left to right.
            scale: Pixels a latent.
            channels: Channels of the picture.
            ramp: How weights grow across an overlap.
        """
        self._rows, self._columns, self._scale = rows, columns, scale
        self._down, self._across = (
            [weight.astype(np.float32) for weight in weights(spans, scale, ramp)] for spans in (rows, columns)
        )
        self._open: Rows = np.zeros((0, columns[-1].stop * scale, channels), np.float32)
        self._top = 0  # the pixel row the open ones begin at

    def begin(self, row: int) -> Iterator[Rows]:
        """Start a row of tiles: yield the rows that are finished, and make room for the new ones."""
        start, stop = self._rows[row].start * self._scale, self._rows[row].stop * self._scale
        if start > self._top:
            yield self._open[: start - self._top]
        kept = self._open[start - self._top :]
        self._open = np.zeros((stop - start, *kept.shape[1:]), np.float32)
        self._open[: len(kept)] = kept
        self._top = start

    def add(self, row: int, column: int, first: int, pixels: Rows) -> None:
        """Add some rows of a tile.

        Args:
            row: Which row of tiles.
            column: Which column.
            first: The first of the rows, counted from the top of what the tile reads, in pixels.
            pixels: The rows, (rows, width of what it reads, channels).
        """
        down, across, scale = self._rows[row], self._columns[column], self._scale
        begin = first - (down.start - down.low) * scale  # counted from the first row the tile gives
        low, high = max(begin, 0), min(begin + len(pixels), (down.stop - down.start) * scale)
        if low >= high:
            return
        left = (across.start - across.low) * scale
        wide = (across.stop - across.start) * scale
        part = pixels[low - begin : high - begin, left : left + wide]
        weight = self._down[row][low:high, None] * self._across[column][None, :]
        columns = slice(across.start * scale, across.stop * scale)
        self._open[low:high, columns] += part * weight[:, :, None]

    def end(self) -> Rows:
        """Return what is left after the last tile."""
        return self._open
