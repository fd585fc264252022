"""The tile grid: pure arithmetic of intervals along one axis. A grid is the product of two axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

RAMPS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda u: u,
    "cosine": lambda u: (1 - np.cos(np.pi * u)) / 2,
    "smootherstep": lambda u: u**3 * (u * (6 * u - 15) + 10),
}
"""How a weight grows from 0 to 1 across an overlap. Each ramp and its mirror image sum to 1."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in latents.

    Attributes:
        start: First row (or column) that it computes.
        stop: One past the last row that it computes.
        low: First row that it reads: `start` minus the context, or the map's edge.
        high: One past the last row that it reads.
    """

    start: int
    stop: int
    low: int
    high: int


@dataclass(frozen=True)
class Grid:
    """The tiles of a map: spans from top to bottom, and from left to right.

    Attributes:
        height: Rows of the map, in latents.
        width: Columns of the map, in latents.
        tile: The most rows and columns that a tile computes.
        overlap: Rows and columns that neighbouring tiles share.
        context: The most rows and columns that a tile reads beyond those it computes, on each side.
    """

    height: int
    width: int
    tile: tuple[int, int]
    overlap: tuple[int, int] = (0, 0)
    context: tuple[int, int] = (0, 0)

    @cached_property
    def rows(self) -> tuple[Span, ...]:
        """The tiles' spans from top to bottom."""
        return spans(self.height, self.tile[0], self.overlap[0], self.context[0])

    @cached_property
    def columns(self) -> tuple[Span, ...]:
        """The tiles' spans from left to right."""
        return spans(self.width, self.tile[1], self.overlap[1], self.context[1])

    @property
    def largest(self) -> tuple[int, int]:
        """The most rows, and the most columns, that a tile reads."""
        rows, columns = (max(span.high - span.low for span in tiles) for tiles in (self.rows, self.columns))
        return rows, columns

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.rows) * len(self.columns)

    @property
    def area(self) -> int:
        """Number of latents that all tiles read, counted once per tile."""
        rows, columns = (sum(span.high - span.low for span in tiles) for tiles in (self.rows, self.columns))
        return rows * columns

    @property
    def shared(self) -> int | None:
        """The fewest latents that neighbouring tiles share; None if there is one tile."""
        return min((a.stop - b.start for tiles in (self.rows, self.columns) for a, b in pairwise(tiles)), default=None)


MAX_SPANS = 1 << 14
"""The most tiles along one axis: 16 million pixels with tiles of 1024 pixels."""


def span_count(size: int, tile: int, overlap: int) -> int:
    """Return the number of tiles that cover an axis. The arguments are those of `spans`."""
    return 1 if size <= tile else -(-(size - overlap) // (tile - overlap))


def spans(size: int, tile: int, overlap: int, context: int) -> tuple[Span, ...]:
    """Cover an axis with tiles.

    Neighbours overlap by exactly `overlap`. Sizes are evened out and differ by at most one, so no tile is a sliver.
    (Moving the last tile back instead would keep one size, but compute much of that tile twice.)

    Args:
        size: Length of the axis.
        tile: Largest length of a tile, more than the overlap.
        overlap: Length that neighbours share.
        context: Length that a tile reads beyond what it computes, on each side, up to the ends of the axis.
    """
    count = span_count(size, tile, overlap)
    if count == 1:
        return (Span(0, size, 0, size),)
    edges = [i * (size - overlap) // count for i in range(count + 1)]
    return tuple(
        Span(start, stop + overlap, max(0, start - context), min(size, stop + overlap + context))
        for start, stop in pairwise(edges)
    )


class Weights:
    """The weights of tiles along an axis, one per pixel. At each pixel of the axis they sum to 1.

    Each tile's are computed when they are asked for: those of many wide tiles could take more than the picture.
    """

    def __init__(self, tiles: tuple[Span, ...], scale: int, ramp: str) -> None:
        """Add up the weights at each pixel.

        Args:
            tiles: The tiles of the axis.
            scale: Pixels per latent.
            ramp: A name in `RAMPS`.
        """
        self._tiles, self._scale, self._grow = tiles, scale, RAMPS[ramp]
        self._total = np.zeros(tiles[-1].stop * scale)
        for i in range(len(tiles)):
            self._total[self._pixels(i)] += self._ramped(i)

    def of(self, i: int) -> np.ndarray:
        """Return the weights of tile `i`."""
        # Where an overlap is more than half a tile, three tiles meet. Only dividing makes their weights sum to 1.
        return self._ramped(i) / self._total[self._pixels(i)]

    def _ramped(self, i: int) -> np.ndarray:
        tile = self._tiles[i]
        weight = np.ones((tile.stop - tile.start) * self._scale)
        for shared, side in ((self._shared(i - 1), slice(None)), (self._shared(i), slice(None, None, -1))):
            length = shared * self._scale
            weight[side][:length] *= self._grow((np.arange(length) + 0.5) / length) if length else 1.0
        return weight

    def _shared(self, i: int) -> int:
        """Return the overlap of tile `i` and the next one; 0 beyond either end."""
        tiles = self._tiles
        return tiles[i].stop - tiles[i + 1].start if 0 <= i < len(tiles) - 1 else 0

    def _pixels(self, i: int) -> slice:
        return slice(self._tiles[i].start * self._scale, self._tiles[i].stop * self._scale)
