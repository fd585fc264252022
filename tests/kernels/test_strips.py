"""The GPUs' kernels, run on MLX's CPU backend: against float64, and against the CPU's kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.cases import (
    CONV,
    DOWN,
    EPS,
    NORM,
    PIXELS,
    READS,
    RELUS,
    RMS,
    SHORTCUT,
    SKIP,
    STEPS,
    conv64,
    normal64,
    random,
    random_affine,
    reading,
    sized,
    weights_of,
    wide,
)
from tests.support.samples import examples
from zvae_tiled.chain import DOUBLE, SAME, Skip, Step
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_gpu import memory as workspace_gpu
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.workspace import block_rows

dtypes = st.sampled_from(list(EPS))
lengths, channels = st.integers(1, 6), st.integers(1, 9)


@given(st.sampled_from(STEPS), dtypes, lengths, lengths, channels, channels, st.integers(0, 1 << 32))
@examples(80)
def test_a_convolution_is_right(
    step: Step, dtype: mx.Dtype, rows: int, width: int, inputs: int, outputs: int, seed: int
) -> None:
    step, rng = sized(step, inputs, outputs), np.random.default_rng(seed)
    kernels, weights = StripKernels(dtype), weights_of(step, dtype, rng)
    x = random((1, step.reads(rows), width * step.stride, inputs), dtype, rng)
    skip = random((1, rows, width, step.skip), dtype, rng) if step.closes else None
    out = kernels.conv(step, kernels.prepare(step, weights), [x], skip)
    assert (out.shape, out.dtype) == ((1, rows, width, outputs), dtype)
    exact, slack = conv64(step, weights, x, skip)
    assert (abs(wide(out)[0] - exact) <= slack).all()
    low, high = kernels.extent()
    bare = wide(kernels.conv(replace(step, closes=None), weights | no_bias(weights), [x], None))
    assert np.array_equal(low, bare.min((0, 2, 3)))
    assert np.array_equal(high, bare.max((0, 2, 3)))


def no_bias(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    return {name: mx.zeros_like(array) for name, array in weights.items() if name == "bias"}


@pytest.mark.parametrize("dtype", list(EPS), ids=str)
def test_without_winograd_it_is_the_same_convolution(dtype: mx.Dtype) -> None:
    step, rng = Step("conv", "conv", 96, 160), np.random.default_rng(0)
    weights, x = weights_of(step, dtype, rng), random((1, 5, 7, 96), dtype, rng)
    kernels = StripKernels(dtype, winograd=False)
    prepared = kernels.prepare(step, weights)
    assert not bool(mx.array_equal(prepared["weight"], weights["weight"]).item())
    exact, slack = conv64(step, weights, x, None)
    assert (abs(wide(kernels.conv(step, prepared, [x], None))[0] - exact) <= slack).all()
    unflipped = StripKernels(dtype).prepare(step, weights)
    assert bool(mx.array_equal(unflipped["weight"], weights["weight"]).item())


@given(st.sampled_from([CONV, SHORTCUT, SKIP, DOWN]), dtypes, lengths, lengths, st.integers(1, 400))
@examples(60)
def test_parts_make_the_whole(step: Step, dtype: mx.Dtype, rows: int, width: int, most: int) -> None:
    rng = np.random.default_rng(most)
    kernels, weights = StripKernels(dtype), weights_of(step, dtype, rng)
    x = random((1, step.reads(rows), width * step.stride, step.inputs), dtype, rng)
    skip = random((1, rows, width, step.skip), dtype, rng) if step.closes else None
    whole = conv64(step, weights, x, skip)
    counts: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace_gpu, "MAX_ELEMENTS", most)
        patch.setattr(mx, "conv_general", spy(mx.conv_general, counts))
        parts = kernels.conv(step, weights, [x], skip)
    assert (abs(wide(parts)[0] - whole[0]) <= whole[1]).all()
    assert sum(counts) == rows * width * 9 * step.inputs
    assert max(counts) <= max(most, 9 * step.inputs)
    low, high = kernels.extent()
    kernels.conv(step, weights, [x], skip)
    assert np.stack([low, high]) == pytest.approx(np.stack(kernels.extent()), rel=4 * EPS[dtype], abs=1e-4)


def spy(convolve: Callable[..., mx.array], counts: list[int]) -> Callable[..., mx.array]:
    def noted(x: mx.array, weight: mx.array, **options: Any) -> mx.array:
        y = convolve(x, weight, **options)
        counts.append(y.shape[1] * y.shape[2] * 9 * x.shape[3])
        return y

    return noted


@given(
    st.sampled_from((*STEPS, *RELUS)),
    st.sampled_from((*READS, RMS)),
    st.sampled_from([mx.float32, mx.bfloat16]),
    lengths,
    lengths,
    st.integers(0, 1 << 32),
)
@examples(40)
def test_a_whole_step_agrees_with_the_cpu_s_kernels(
    step: Step, through: str, dtype: mx.Dtype, rows: int, width: int, seed: int
) -> None:
    rng, step = np.random.default_rng(seed), reading(step, through)
    weights = weights_of(step, dtype, rng)
    x = random((1, rows * step.stride, width * step.stride, step.inputs), dtype, rng)
    skip = random((1, rows * step.factor, width * step.factor, step.skip), dtype, rng) if step.closes else None
    results = []
    for kernels in (RowKernels(dtype), StripKernels(dtype)):
        affine = random_affine(step, kernels, np.random.default_rng(seed))
        pieces = kernels.activate(step, x, affine)
        edge = kernels.edge(step, x.shape[2] if kernels.folds else x.shape[2] * step.factor)
        above, below = (edge * count for count in step.zeros)
        ready = kernels.prepare(step, weights)
        results.append(wide(kernels.conv(step, ready, [*above, *pieces, *below], skip)))
    size = 1 + abs(results[0])
    assert (abs(results[0] - results[1]) <= (1e-4 if dtype == mx.float32 else 0.1) * size).all()


@given(dtypes, lengths, lengths, channels, st.booleans(), st.sampled_from((*READS[1:], RMS)))
def test_activation_is_right(dtype: mx.Dtype, rows: int, width: int, inputs: int, upsample: bool, through: str) -> None:
    rng = np.random.default_rng(rows)
    kernels, x = StripKernels(dtype), random((1, rows, width, inputs), dtype, rng)
    step = reading(Step("conv", "conv", inputs, 1, resample=DOUBLE if upsample else SAME), through)
    affine = random_affine(step, kernels, rng)
    assert affine is not None
    (found,) = kernels.activate(step, x, affine)
    y = normal64(step, wide(x), affine)
    if step.activation == "silu":
        y = y / (1 + np.exp(-y))
    if step.activation == "relu":
        y = np.maximum(y, 0)
    if upsample:
        y = y.repeat(2, axis=1).repeat(2, axis=2)
    assert found.dtype == dtype
    assert (abs(wide(found) - y) <= EPS[dtype] * abs(y) + 1e-6 * (1 + abs(y))).all()


@given(dtypes, lengths, st.integers(1, 40), channels, st.integers(1, 200))
def test_moments_survive_a_large_mean(dtype: mx.Dtype, rows: int, width: int, inputs: int, at_once: int) -> None:
    x = random((1, rows, width, inputs), dtype, np.random.default_rng(at_once), offset=100)
    means, m2s = StripKernels(dtype).moments(x)
    exact = wide(x)[0].mean(axis=1)
    assert means.shape == m2s.shape == (rows, inputs)
    assert means == pytest.approx(exact, rel=1e-6)
    assert m2s == pytest.approx(np.square(wide(x)[0] - exact[:, None]).sum(axis=1), rel=1e-4, abs=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace_gpu, "MOMENTS_AT_ONCE", at_once)
        for again, before in zip(StripKernels(dtype).moments(x), (means, m2s), strict=True):
            assert (again == before).all()


@given(dtypes, lengths, lengths, channels, st.integers(1, 60), st.integers(0, 1 << 32))
@examples(50)
def test_attention_is_right_however_it_is_cut(
    dtype: mx.Dtype, rows: int, width: int, inputs: int, scores: int, seed: int
) -> None:
    rng, norm = np.random.default_rng(seed), PIXELS if seed % 2 else NORM
    step = Step("attention", "attention", inputs, inputs, kernel=1, norm=norm, opens=True, closes=Skip(inputs))
    kernels, weights = StripKernels(dtype), weights_of(step, dtype, rng)
    x = random((1, rows, width, inputs), dtype, rng)
    affine = random_affine(step, kernels, rng)
    assert affine is not None
    keys = kernels.keys(step, weights, x, affine)
    assert (keys.shape, keys.dtype) == ((1, rows, width, 2 * inputs), dtype)
    w = {name: wide(array) for name, array in weights.items()}
    normal = normal64(step, wide(x), affine).reshape(-1, inputs)
    exact_keys = np.concatenate([normal @ w[f"{n}.weight"].T + w[f"{n}.bias"] for n in ("to_k", "to_v")], axis=1)
    eps = EPS[dtype]
    assert wide(keys).reshape(-1, 2 * inputs) == pytest.approx(exact_keys, abs=8 * inputs * eps, rel=8 * inputs * eps)
    # From here on float64 starts from the rounded keys, so that their rounding does not count twice.
    k, v = np.split(wide(keys).reshape(-1, 2 * inputs), 2, axis=1)
    s = (normal @ w["to_q.weight"].T + w["to_q.bias"]) @ k.T * inputs**-0.5
    p = np.exp(s - s.max(axis=1, keepdims=True))
    found = p @ v / p.sum(axis=1, keepdims=True) @ w["to_out.0.weight"].T + w["to_out.0.bias"]
    exact = wide(x).reshape(-1, inputs) + found
    cuts = sorted({0, rows, *rng.integers(0, rows + 1, 2).tolist()})
    blocks = [keys[:, top:bottom] for top, bottom in pairwise(cuts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace_gpu, "SCORES_AT_ONCE", scores * block_rows(width) * width)
        out = kernels.attend(step, weights, x, affine, iter(blocks))
    assert (out.shape, out.dtype) == (x.shape, dtype)
    # Rounding of a query moves its scores in proportion to their size.
    slack = eps * (1 + abs(s).max()) * (4 + abs(v).max()) * 8 * inputs
    assert abs(wide(out).reshape(-1, inputs) - exact).max() <= slack + 1e-5
