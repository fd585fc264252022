"""Moments: the same mean and variance for any bands of rows, without loss of digits to a large mean."""

from __future__ import annotations

from random import Random

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvae_tiled.chain import Norm, Step
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.engine.moments import Moments

NORMED = Step("conv", "conv", 1, 1, norm=Norm("norm", groups=1), activation="silu")
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 40), st.sampled_from([1, 2, 3, 4]), st.integers(1, 5))
"""Rows, columns, groups, channels a group."""


def random_map(shape: tuple[int, int, int, int], mean: float, seed: int) -> np.ndarray:
    """A float32 map with rows that differ, and a spread of about 1 around a mean."""
    rows, width, groups, members = shape
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 1, (rows, width, groups * members)) + rng.normal(0, 1, (rows, 1, 1))
    return (mean + spread).astype(np.float32)


def gathered(values: np.ndarray, groups: int, cuts: list[int]) -> Moments:
    """Moments of a map that comes in bands which end at these rows."""
    kernels, moments = RowKernels(mx.float32), Moments(groups)
    for band in np.split(values, cuts):
        moments.add(*kernels.moments(mx.array(band[None])), values.shape[1])
    return moments


def exact(values: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every group, in float64."""
    grouped = values.astype(np.float64).reshape(-1, groups, values.shape[-1] // groups)
    return grouped.mean((0, 2)), grouped.var((0, 2))


@given(SHAPES, st.sampled_from([0.0, 1.0, -300.0, 1e6]), st.integers(0, 99), st.randoms(use_true_random=False))
def test_any_split_of_the_rows_gives_the_same_bits(
    shape: tuple[int, int, int, int], mean: float, seed: int, rng: Random
) -> None:
    values = random_map(shape, mean, seed)
    whole = gathered(values, shape[2], [])
    split = gathered(values, shape[2], sorted({rng.randrange(1, shape[0]) for _ in range(3)} if shape[0] > 1 else []))
    assert whole.count == split.count == values.size // shape[2]
    assert whole.mean.tobytes() == split.mean.tobytes()
    assert whole.m2.tobytes() == split.m2.tobytes()


@given(SHAPES, st.sampled_from([0.0, 1.0, -300.0, 1e4]), st.integers(0, 99))
def test_mean_and_variance_are_those_of_float64(shape: tuple[int, int, int, int], mean: float, seed: int) -> None:
    values = random_map(shape, mean, seed)
    found = gathered(values, shape[2], [])
    means, variances = exact(values, shape[2])
    spread = np.sqrt(variances)
    lost = 4e-7 * (np.abs(means) + spread)  # a row's mean is summed up and rounded in float32
    assert (np.abs(found.mean - means) <= lost).all()
    assert (np.abs(found.m2 / found.count - variances) <= 2 * spread * lost + np.square(lost)).all()


@pytest.mark.parametrize(("mean", "times"), [(100, 300), (1000, 1000), (3000, 1000)])
def test_a_sum_of_squares_in_float32_would_lose_what_moments_keep(mean: float, times: float) -> None:
    shape = (64, 100, 2, 4)
    values = random_map(shape, mean, seed=0)
    _, variances = exact(values, shape[2])
    found = gathered(values, shape[2], [7, 8, 40])
    grouped = values.reshape(-1, shape[2], shape[3])
    squares = np.mean(np.square(grouped), (0, 2), dtype=np.float32) - np.square(np.mean(grouped, (0, 2)))
    error = np.abs(found.m2 / found.count - variances) / variances
    assert (error < mean * 2.0**-24).all()
    assert (np.abs(squares - variances) / variances > times * error).all()


def test_a_dark_half_counts_whole() -> None:
    """Nearly all of the spread lies between the bands. The mean of the bands' variances would miss it."""
    values = np.concatenate([np.full((8, 8, 2), 9, np.float32), np.zeros((8, 8, 2), np.float32)])
    values += np.random.default_rng(0).normal(0, 0.01, values.shape).astype(np.float32)
    found = gathered(values, 1, [4, 8, 12])
    assert found.m2[0] / found.count == pytest.approx(exact(values, 1)[1][0], rel=1e-6)
    assert found.m2[0] / found.count > 20


@given(SHAPES, st.sampled_from([0.0, 50.0]), st.integers(0, 99))
def test_the_folded_norm_is_group_norm(shape: tuple[int, int, int, int], mean: float, seed: int) -> None:
    values, rng = random_map(shape, mean, seed), np.random.default_rng(seed)
    channels = values.shape[-1:]
    weight, bias = rng.normal(1, 0.2, channels), rng.normal(0, 1, channels)
    means, variances = (np.repeat(each, shape[3]) for each in exact(values, shape[2]))
    want = (values - means) / np.sqrt(variances + 1e-6) * weight + bias
    kernels = RowKernels(mx.float32)
    affine = kernels.affine(*gathered(values, shape[2], []).affine(weight, bias, 1e-6))
    got = mx.concatenate(kernels.activate(NORMED, mx.array(values[None]), affine), axis=1)[0]
    assert np.allclose(got, want / (1 + np.exp(-want)), rtol=1e-5, atol=1e-4)
