"""Feather weights add up to one at every pixel; tiles of a picture add up to it, and finished rows leave at once."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.quality.cases import RAMPS
from zvae_tiled.engine.blend import Blender
from zvae_tiled.planner.grid import RAMPS as CURVES
from zvae_tiled.planner.grid import Weights, spans


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    tile = draw(st.integers(1, 12))
    return draw(st.integers(1, 40)), tile, draw(st.integers(0, tile - 1)), draw(st.integers(0, 4))


@given(axes(), axes(), st.sampled_from(RAMPS), st.sampled_from([1, 2, 8]))
def test_weights_sum_to_one_at_every_pixel(
    down: tuple[int, int, int, int], across: tuple[int, int, int, int], ramp: str, scale: int
) -> None:
    total = np.zeros((down[0] * scale, across[0] * scale), np.float32)
    rows, columns = spans(*down), spans(*across)
    by_row, by_column = Weights(rows, scale, ramp), Weights(columns, scale, ramp)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            weight = by_row.of(i).astype(np.float32)[:, None] * by_column.of(j).astype(np.float32)
            assert weight.min() >= 0
            total[row.start * scale : row.stop * scale, column.start * scale : column.stop * scale] += weight
    assert np.abs(total - 1).max() <= 1e-6


@given(st.integers(2, 6), st.integers(2, 60), st.sampled_from(RAMPS), st.sampled_from([1, 2, 8]))
def test_a_tile_s_weight_fades_across_what_it_shares_with_each_neighbour(
    overlap: int, size: int, ramp: str, scale: int
) -> None:
    """Weights that sum to one could still end abruptly, which shows as a seam."""
    tiles = spans(size, 3 * overlap, overlap, 0)  # never more than two tiles at a pixel
    weights, shared = Weights(tiles, scale, ramp), overlap * scale
    for before, after in pairwise(map(weights.of, range(len(tiles)))):
        for fading in (after[:shared], before[::-1][:shared]):
            assert (np.diff(fading) >= 0).all()
            assert fading[0] < 0.3
            assert fading[-1] > 0.7


def test_weights_of_many_wide_tiles_take_no_more_than_the_axis() -> None:
    tiles = spans(2_000, 1_000, 999, 0)
    tracemalloc.start()
    try:
        weights = Weights(tiles, 8, "linear")
        assert len(tiles) == 1_001
        assert weights.of(500).sum() > 0
        assert tracemalloc.get_traced_memory()[1] < 10 * 8 * 8 * 2_000  # all of them: 64 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ramp", RAMPS)
def test_ramps_grow_from_0_to_1_and_mirror_themselves(ramp: str) -> None:
    at = np.linspace(0, 1, 101)
    values = CURVES[ramp](at)
    assert values[0] == pytest.approx(0, abs=1e-12)
    assert values[-1] == pytest.approx(1)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(values + values[::-1], 1, atol=1e-12)


@given(
    axes(),
    axes(),
    st.sampled_from(RAMPS),
    st.sampled_from([1, 2]),
    st.integers(1, 30),
    st.integers(0, 99),
)
def test_tiles_of_a_picture_add_up_to_it(
    down: tuple[int, int, int, int], across: tuple[int, int, int, int], ramp: str, scale: int, band: int, seed: int
) -> None:
    rows, columns = spans(*down), spans(*across)
    picture = np.random.default_rng(seed).normal(size=(down[0] * scale, across[0] * scale, 3)).astype(np.float32)
    blender = Blender(rows, columns, scale, 3, ramp)
    found: list[np.ndarray] = []
    for i, row in enumerate(rows):
        blender.begin(i)
        for j, column in enumerate(columns):
            read = picture[row.low * scale : row.high * scale, column.low * scale : column.high * scale]
            for top in range(0, len(read), band):
                finished = blender.add(i, j, top, read[top : top + band])
                assert len(finished) <= band  # no row waits for the tile's end
                found.append(finished.copy())
        # All rows above the next row of tiles have left.
        below = rows[i + 1].start if i + 1 < len(rows) else row.stop
        assert sum(map(len, found)) == below * scale
    np.testing.assert_allclose(np.concatenate(found), picture, atol=3e-6)


def test_only_one_row_of_tiles_is_held() -> None:
    rows, columns = spans(1000, 10, 2, 0), spans(20, 20, 0, 0)
    blender = Blender(rows, columns, 1, 3, "linear")
    for i, row in enumerate(rows):
        blender.begin(i)
        assert len(blender._open) == row.stop - row.start <= 10
