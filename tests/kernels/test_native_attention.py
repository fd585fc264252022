"""The native kernels' attention and moments, against float64."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.cases import (
    EPS,
    NORM,
    PIXELS,
    normal64,
    random,
    random_affine,
    weights_of,
    wide,
)
from tests.kernels.native import ROUNDED, kernels_of
from tests.kernels.native_steps import cases, channels, rows, seeds, widths
from tests.support.plans import bits
from tests.support.samples import examples
from zvae_tiled.chain import ATTENTION, Skip, Step
from zvae_tiled.devices.native_cpu.arrays import NUMPY
from zvae_tiled.devices.native_cpu.attention import Softmax
from zvae_tiled.devices.workspace import block_rows


def step_of(count: int) -> Step:
    return Step("attention", "attention", count, count, kernel=1, norm=NORM, opens=True, closes=Skip(count))


@given(cases, rows, widths, channels, st.sampled_from([0, 100]), seeds)
@examples(60)
def test_moments_are_those_of_float64(
    case: tuple[str, mx.Dtype], height: int, width: int, count: int, mean: float, seed: int
) -> None:
    kernels, x = kernels_of(*case), random((1, height, width, count), case[1], np.random.default_rng(seed), mean)
    means, m2s = kernels.moments(x)
    exact = wide(x)[0].mean(axis=1)
    squares = np.square(wide(x)[0] - exact[:, None]).sum(axis=1)
    assert means == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert m2s == pytest.approx(squares, rel=1e-5, abs=1e-8)
    alone = [kernels.moments(x[:, row : row + 1]) for row in range(height)]
    assert np.concatenate([each[0] for each in alone]).tobytes() == means.tobytes()
    assert np.concatenate([each[1] for each in alone]).tobytes() == m2s.tobytes()


@given(cases, st.integers(1, 5), st.sampled_from([1, 3, 14, 40, 61, 300]), channels, seeds)
@examples(60)
def test_attention_is_right_and_the_same_for_any_band(
    case: tuple[str, mx.Dtype], height: int, width: int, count: int, seed: int
) -> None:
    rng, norm = np.random.default_rng(seed), PIXELS if seed % 2 else NORM
    step = replace(step_of(count), norm=norm)
    kernels, weights, dtype = kernels_of(*case), weights_of(step, case[1], rng), case[1]
    weights = {name: (array * count**-0.5).astype(dtype) for name, array in weights.items()}
    x = random((1, height, width, count), dtype, rng)
    affine = random_affine(step, kernels, rng)
    assert affine is not None
    prepared = kernels.prepare(step, weights)
    keys = kernels.keys(step, prepared, x, affine)
    assert (keys.shape, keys.dtype) == ((1, height, width, 2 * count), NUMPY[dtype])
    w = {name: wide(array) for name, array in weights.items()}
    normal = normal64(step, wide(x), affine).reshape(-1, count)
    exact_keys = np.concatenate([normal @ w[f"{n}.weight"].T + w[f"{n}.bias"] for n in ("to_k", "to_v")], axis=1)
    unit = 2.0**-8 if case[0] in ROUNDED else EPS[dtype]
    assert abs(wide(keys).reshape(-1, 2 * count) - exact_keys).max() <= 8 * unit * (1 + abs(exact_keys).max())
    # From here on float64 starts from the rounded keys, so that their rounding does not count twice.
    k, v = np.split(wide(keys).reshape(-1, 2 * count), 2, axis=1)
    s = (normal @ w["to_q.weight"].T + w["to_q.bias"]) @ k.T * count**-0.5
    p = np.exp(s - s.max(axis=1, keepdims=True))
    found = p @ v / p.sum(axis=1, keepdims=True) @ w["to_out.0.weight"].T + w["to_out.0.bias"]
    exact = wide(x).reshape(-1, count) + found
    tall = block_rows(width) if seed % 2 else 1 + seed % 3

    def ask(top: int, bottom: int) -> np.ndarray:
        blocks = (keys[:, i : i + tall] for i in range(0, height, tall))
        return kernels.attend(step, prepared, kernels.join([(x, top, bottom)]), affine, blocks)

    out = ask(0, height)
    assert (out.shape, out.dtype) == (x.shape, NUMPY[dtype])
    slack = unit * (1 + abs(s).max()) * (4 + abs(v).max()) * (4 + math.sqrt(count))
    assert abs(wide(out).reshape(-1, count) - exact).max() <= slack + 1e-5
    assert bits(np.concatenate([ask(row, row + 1) for row in range(height)], axis=1)) == bits(out)


def attended(case: tuple[str, mx.Dtype], key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Ask keys (count, channels) with three queries of ones. The result has no projection and no skip."""
    count, dtype = key.shape[1], case[1]
    kernels, step = kernels_of(*case), step_of(count)
    weights = {f"{name}.weight": mx.zeros((count, count), dtype) for name in ATTENTION}
    weights |= {f"{name}.bias": mx.zeros(count, dtype) for name in ATTENTION}
    weights |= {"to_q.bias": mx.ones(count, dtype), "to_out.0.weight": mx.eye(count, dtype=dtype)}
    affine = kernels.affine(np.ones(count), np.zeros(count))
    block = mx.array(np.concatenate([key, value], axis=1)[None, None].astype(np.float32)).astype(dtype)
    mx.eval(block)
    x = mx.zeros((1, 1, 3, count), dtype)
    found: np.ndarray = wide(kernels.attend(step, kernels.prepare(step, weights), x, affine, iter([block])))[0, 0]
    return found


def test_a_query_takes_nothing_that_is_not_counted() -> None:
    """What is compared after a call is by rows of the map: sums of each query took 24 bytes."""
    kernels, rng = kernels_of("portable", mx.float32), np.random.default_rng(0)
    query, block = rng.random((1, 4, 5000, 1), np.float32), np.zeros((1, 1, 3, 2), np.float32)
    softmax = Softmax(kernels.workspace, query, kernels._attended)
    softmax.add(block, 0.0)
    tracemalloc.start()
    softmax.add(block, 0.0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < query.shape[1] * query.shape[2] * 8


@given(cases, st.sampled_from([1, 15, 33, 63, 65, 257, 300]), st.sampled_from([1, 17, 64, 70]), seeds)
@examples(40)
def test_padding_is_never_attended_to(case: tuple[str, mx.Dtype], keys: int, count: int, seed: int) -> None:
    """All scores are -200 or less: a padding key with a score of 0 would have all the weight."""
    value = np.random.default_rng(seed).integers(-8, 9, (keys, count)) / 8
    found = attended(case, np.full((keys, count), -256.0 * count**-0.5), value)
    assert abs(found - value.mean(axis=0)).max() <= 2.0**-7


@given(cases, st.sampled_from([1, 63, 65, 300]), st.booleans(), seeds)
@examples(20)
def test_a_nan_reaches_every_query(case: tuple[str, mx.Dtype], keys: int, in_key: bool, seed: int) -> None:
    """So the guard sees it."""
    key, value = np.ones((2, keys, 5))
    (key if in_key else value)[seed % keys, seed % 5] = np.nan
    found = np.isnan(attended(case, key, value))
    assert found.all() if in_key else found[:, seed % 5].all()
