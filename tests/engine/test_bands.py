"""Maps kept as strips: the same rows are read back, in bands of the requested height or as they were stored."""

from __future__ import annotations

from itertools import pairwise

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.engine.bands import Band, RamBands, Store
from zvae_tiled.engine.transducers import watch

KERNELS = RowKernels(mx.float32)

heights = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def strips(heights: list[int], channels: int) -> list[mx.array]:
    ends = np.cumsum([0, *heights])
    rows = mx.arange(int(ends[-1])).reshape(1, -1, 1, 1) * mx.ones((1, 1, 2, channels))
    return [rows[:, low:high] for low, high in pairwise(ends)]


def stored(heights: list[int]) -> Store[mx.array]:
    store: Store[mx.array] = Store(KERNELS, RamBands(KERNELS), [RamBands(KERNELS)])
    for value, skip in zip(strips(heights, 3), strips(heights, 1), strict=True):
        store.append(Band(value, [[(skip, 0, skip.shape[1])]]))
    return store


@given(heights, st.integers(1, 20), st.booleans())
def test_value_and_skip_come_back_in_step(heights: list[int], rows: int, release: bool) -> None:
    values, skips = [], []
    for band in stored(heights).read(rows, release):
        (skip,) = band.take_skips()
        value, aside = band.take(), KERNELS.join(skip)
        assert value.shape[1] == aside.shape[1] <= rows
        values.append(value)
        skips.append(aside)
    for found, channels in ((values, 3), (skips, 1)):
        assert mx.array_equal(mx.concatenate(found, axis=1), mx.concatenate(strips(heights, channels), axis=1))


@given(heights, st.integers(1, 20))
def test_exact_portions_have_just_so_many_rows(heights: list[int], rows: int) -> None:
    found = [value.shape[1] for value in stored(heights).values().read(rows, release=False)]
    assert set(found[:-1]) <= {rows}
    assert sum(found) == sum(heights)


def test_strips_of_nearly_as_many_rows_are_not_copied() -> None:
    bands = RamBands(KERNELS)
    put = strips([15, 16, 9, 8, 3], 3)
    for strip in put:
        bands.append(strip)
    found = list(bands.read(16, release=False, exact=False))
    assert [strip.shape[1] for strip in found] == [15, 16, 9, 11]
    assert all(strip is given for strip, given in zip(found[:3], put[:3], strict=True))


def test_strips_are_not_cut_where_they_fit() -> None:
    """A sweep whose Steps lag stores a low first strip. It is a band, and the strips below it stay whole."""
    bands = RamBands(KERNELS)
    put = strips([4, 16, 16, 3, 4, 12, 20], 3)
    for strip in put:
        bands.append(strip)
    found = list(bands.read(16, release=False, exact=False))
    assert [strip.shape[1] for strip in found] == [4, 16, 16, 7, 12, 16, 4]
    assert all(found[index] is put[kept] for index, kept in ((0, 0), (1, 1), (2, 2), (4, 5)))


@given(heights)
def test_progress_counts_rows(heights: list[int]) -> None:
    told: list[int] = []
    for _ in watch(KERNELS, map(Band, strips(heights, 1)), told.append):
        pass
    assert told == list(np.cumsum(heights))
