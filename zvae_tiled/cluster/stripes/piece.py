"""`Piece`: some rows of what is stored at a cut, which can be sent to another process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from zvae_tiled.devices.counted import count
from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.devices.native_cpu.arrays import memory_of
from zvae_tiled.engine.bands import Bands, RamBands, Store
from zvae_tiled.planner.region import Rows

Strips = list[Any]
"""Rows of one map, from top to bottom, in arrays (1, rows, width, channels)."""


@dataclass
class Piece:
    """Rows of a map, and of every skip that is open beside it.

    A pickle holds the memory of the rows, out of band, without a copy.

    Attributes:
        rows: Which rows of the map they are.
        value: Strips of the map.
        skips: Strips of each skip, the outermost first.
    """

    rows: Rows
    value: Strips
    skips: list[Strips] = field(default_factory=list)

    def __sizeof__(self) -> int:
        """Return its bytes. Dask places tasks by them."""
        return 256 + sum(int(strip.nbytes) for strips in (self.value, *self.skips) for strip in strips)

    def __reduce__(self) -> tuple[Callable[..., Piece], tuple[Rows, Strips, list[Strips]]]:
        """Let a pickle hold NumPy arrays, which every thread can write and read."""
        value, *skips = ([memory_of(strip) for strip in strips] for strips in (self.value, *self.skips))
        return received, (self.rows, value, skips)

    def part(self, wanted: Rows) -> Piece:
        """Return a copy of those of its rows that are wanted."""
        rows = Rows(max(wanted.first, self.rows.first), min(wanted.stop, self.rows.stop))
        low, high = rows.first - self.rows.first, rows.stop - self.rows.first
        value, *skips = ([_copied(strips, low, high)] for strips in (self.value, *self.skips))
        return Piece(rows, value, skips)


def received(rows: Rows, value: Strips, skips: list[Strips]) -> Piece:
    """Return a piece that has come from another process. Its memory is counted as if it had been made here."""
    for strips in (value, *skips):
        for strip in strips:
            count(strip)
    return Piece(rows, value, skips)


class PieceStore(Store[Any]):
    """What is stored at a cut, of which only some rows are here."""

    def __init__(self, kernels: Kernels[Any], value: Bands[Any], skips: list[Bands[Any]], top: int) -> None:
        """Take places for value and skips. The first row there is row `top` of the map."""
        super().__init__(kernels, value, skips)
        self._top = top

    def read(self, rows: int, release: bool, first: int = 0, stop: int | None = None) -> Iterator[Any]:
        """Yield bands (see `Store.read`). Rows are those of the map."""
        assert first >= self._top, "these rows are not here"
        assert stop is not None
        return super().read(rows, release, first - self._top, stop - self._top)


def stored(kernels: Kernels[Any], pieces: Iterable[Piece]) -> PieceStore:
    """Return pieces that follow one another as a sweep reads them."""
    inside = sorted(pieces, key=lambda piece: piece.rows)
    assert all(a.rows.stop == b.rows.first for a, b in pairwise(inside)), "rows are missing"
    value, *skips = (
        bands(kernels, (strip for strips in same_map for strip in strips))
        for same_map in zip(*((piece.value, *piece.skips) for piece in inside), strict=True)
    )
    return PieceStore(kernels, value, skips, inside[0].rows.first)


def bands(kernels: Kernels[Any], strips: Iterable[Any]) -> Bands[Any]:
    """Return strips as a map in memory.

    Those of another process are NumPy arrays. MLX's kernels copy the rows that they read, when they read them.
    """
    found: RamBands[Any] = RamBands(kernels)
    for strip in strips:
        found.append(strip)
    return found


def _copied(strips: Strips, low: int, high: int) -> np.ndarray:
    """Return rows of strips in an array of their own, so that they do not hold on to the others."""
    found, top = [], 0
    for strip in map(memory_of, strips):
        first, stop = max(low - top, 0), min(high - top, strip.shape[1])
        top += strip.shape[1]
        if first < stop:
            found.append(strip[:, first:stop])
    return np.concatenate(found, axis=1)
