"""The tile grid: pure algebra of intervals. One axis at a time; a grid is the product of two."""

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
"""How a weight grows from 0 to 1 across an overlap; each with its mirror image sums to 1."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in latents.

    Attributes:
        start: First row (or column) it gives.
        stop: One behind the last.
        low: First row it reads: `start` less the context, or the map's edge.
        high: One behind the last it reads.
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
        width: Columns likewise.
        tile: The largest rows and columns of a tile.
        overlap: Rows and columns that neighbouring tiles share.
        context: The most rows and columns that a tile reads beyond what it gives.
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
        """Their spans from left to right."""
        return spans(self.width, self.tile[1], self.overlap[1], self.context[1])

    @property
    def largest(self) -> tuple[int, int]:
        """The most rows, and the most columns, that a tile reads."""
        rows, columns = (max(span.high - span.low for span in tiles) for tiles in (self.rows, self.columns))
        return rows, columns

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self.rows) * len(self.columns)

    @property
    def area(self) -> int:
        """Latents that all tiles read."""
        rows, columns = (sum(span.high - span.low for span in tiles) for tiles in (self.rows, self.columns))
        return rows * columns

    @property
    def shared(self) -> int | None:
        """The fewest latents that neighbouring tiles share; None if there is one tile."""
        return min((a.stop - b.start for tiles in (self.rows, self.columns) for a, b in pairwise(tiles)), default=None)


MAX_SPANS = 1 << 14
"""Tiles along one axis: of 1024 pixels each, a picture of 16 million pixels a side."""


def span_count(size: int, tile: int, overlap: int) -> int:
    """Return how many tiles cover an axis; the arguments are those of `spans`."""
    return 1 if size <= tile else -(-(size - overlap) // (tile - overlap))


def spans(size: int, tile: int, overlap: int, context: int) -> tuple[Span, ...]:
    """Cover an axis by tiles.

    Neighbours overlap by just `overlap`; sizes are evened out and differ by one at most, so there is no sliver at
    the end. (Moving the last tile back instead would keep one size, and compute much of it twice.)

    Args:
        size: Length of the axis.
        tile: Largest length of a tile, more than the overlap.
        overlap: Length that neighbours share.
        context: What a tile reads beyond what it gives, on each side where there is something.
    """
    count = span_count(size, tile, overlap)
    if count == 1:
        return (Span(0, size, 0, size),)
    edges = [i * (size - overlap) // count for i in range(count + 1)]
    return tuple(
        Span(start, stop + overlap, max(0, start - context), min(size, stop + overlap + context))
        for start, stop in pairwise(edges)
    )


def weights(tiles: tuple[Span, ...], scale: int, ramp: str) -> list[np.ndarray]:
    """Return the weight of every pixel of every tile along an axis; they sum to 1 at each pixel of the axis.

    Args:
        tiles: The tiles of the axis.
        scale: Pixels a latent.
        ramp: A name in `RAMPS`.
    """
    grow, found = RAMPS[ramp], []
    for i, tile in enumerate(tiles):
        weight = np.ones((tile.stop - tile.start) * scale)
        for shared, side in ((_shared(tiles, i - 1), slice(None)), (_shared(tiles, i), slice(None, None, -1))):
            length = shared * scale
            weight[side][:length] *= grow((np.arange(length) + 0.5) / length) if length else 1.0
        found.append(weight)
    total = np.zeros(tiles[-1].stop * scale)
    for tile, weight in zip(tiles, found, strict=True):
        total[tile.start * scale : tile.stop * scale] += weight
    # Where an overlap is more than half a tile, three tiles meet: only dividing makes them sum to 1.
    return [weight / total[tile.start * scale : tile.stop * scale] for tile, weight in zip(tiles, found, strict=True)]


def _shared(tiles: tuple[Span, ...], i: int) -> int:
    """Return how far tile i and the next one overlap; 0 beyond either end."""
    return tiles[i].stop - tiles[i + 1].start if 0 <= i < len(tiles) - 1 else 0
