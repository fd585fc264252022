"""The native kernels, every path of them this machine can run: against float64, and the same bits however cut."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.cases import (
    CONV,
    EPS,
    NORM,
    NORMED,
    READS,
    STEPS,
    Array,
    convolve64,
    random,
    reading,
    sized,
    weights_of,
    wide,
)
from tests.kernels.native import CASES, PATHS, ROUNDED, kernels_of
from tests.support.plans import bits
from tests.support.samples import examples
from zvae_tiled.chain import Skip, Step
from zvae_tiled.devices.kernels import Affine
from zvae_tiled.devices.native_cpu import kernels as native_rows
from zvae_tiled.devices.native_cpu.arrays import room
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.workspace import block_rows

pytestmark = pytest.mark.skipif(not PATHS, reason="built without the native kernels")
cases = st.sampled_from(CASES)
rows, widths = st.integers(1, 6), st.sampled_from([1, 2, 3, 5, 13, 14, 15, 31, 33, 69, 71, 150])
channels = st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 65, 130])
seeds = st.integers(0, 1 << 32)


def activated64(step: Step, x: Array, affine: Affine | None) -> Array:
    """Normalised and activated in float64."""
    if affine is None:
        return x
    scale, shift, mean = map(wide, affine)
    normal = (x - mean) * scale + shift
    return np.asarray(normal / (1 + np.exp(-normal))) if step.activation == "silu" else normal


def step64(
    step: Step, weights: dict[str, mx.array], x: mx.array, affine: Affine | None, skip: mx.array | None, unit: float
) -> tuple[Array, Array]:
    """What a Step gives for a whole map, and what rounding may come to.

    Args:
        step: The Step.
        weights: Its weights.
        x: The map.
        affine: Its norm.
        skip: The skip.
        unit: Largest relative error of what is multiplied.
    """
    w = {name: wide(array) for name, array in weights.items()}
    a = activated64(step, wide(x)[0], affine)
    if step.upsample:
        a = a.repeat(2, axis=0).repeat(2, axis=1)
    a = np.pad(a, (step.zeros, (0, 0), (0, 0)))
    y, size = convolve64(a, w["weight"], step.stride), convolve64(abs(a), abs(w["weight"]), step.stride)
    total = y + w["bias"]
    if skip is not None:
        aside = wide(skip)[0]
        if step.shortcut:
            size = size + convolve64(abs(aside), abs(w["shortcut.weight"]))
            aside = convolve64(aside, w["shortcut.weight"]) + w["shortcut.bias"]
        total = total + aside
    sums = 2.0**-23 * (9 * step.inputs + step.skip + 8)
    return total, (sums + unit) * (size + abs(w["bias"]) + 1) + EPS[x.dtype] * abs(total)


def whole(
    kernels: NativeKernels,
    step: Step,
    weights: dict[str, mx.array],
    x: mx.array,
    affine: Affine | None,
    skip: mx.array | None,
) -> mx.array:
    above, below = (kernels.edge(step, x.shape[2]) * rows for rows in step.zeros)
    pieces = [*above, *kernels.activate(step, x, affine), *below]
    return kernels.conv(step, kernels.prepare(step, weights), pieces, skip)


def random_step(
    step: Step,
    case: tuple[str, mx.Dtype],
    height: int,
    width: int,
    inputs: int,
    outputs: int,
    seed: int,
    through: str,
    threads: int = 2,
) -> tuple[NativeKernels, Step, dict[str, mx.array], mx.array, Affine | None, mx.array | None]:
    """A Step of these sizes with everything it reads."""
    rng = np.random.default_rng(seed)
    (path, dtype), step = case, reading(sized(step, inputs, outputs), through)
    kernels, weights = kernels_of(path, dtype, threads), weights_of(step, dtype, rng)
    x = random((1, height * step.stride, width * step.stride, inputs), dtype, rng)
    affine = kernels.affine(*rng.standard_normal((3, inputs))) if step.norm else None
    skip = random((1, height, width, step.skip), dtype, rng) if step.closes else None
    return kernels, step, weights, x, affine, skip


@given(st.sampled_from(STEPS), cases, rows, widths, channels, channels, seeds, st.sampled_from(READS))
@examples(150)
def test_a_step_is_right(
    step: Step, case: tuple[str, mx.Dtype], height: int, width: int, inputs: int, outputs: int, seed: int, through: str
) -> None:
    kernels, step, weights, x, affine, skip = random_step(step, case, height, width, inputs, outputs, seed, through)
    out = whole(kernels, step, weights, x, affine, skip)
    grown = step.factor
    assert (out.shape, out.dtype) == ((1, height * grown, width * grown, outputs), case[1])
    # Activated rows are rounded to what is multiplied, and folded weights too.
    rounds = case[0] in ROUNDED and (step.norm or step.upsample)
    exact, slack = step64(step, weights, x, affine, skip, 2.0**-8 if rounds else 2.0**-20)
    assert (abs(wide(out)[0] - exact) <= slack).all()
    assert np.isfinite(kernels.largest(out)).all()
    bare = replace(step, closes=None)
    none = {name: mx.zeros_like(array) if name == "bias" else array for name, array in weights.items()}
    values = wide(whole(kernels, bare, none, x, affine, None)).reshape(height, -1)
    low, high = kernels.extent()
    assert (values.min(axis=1) == low.astype(np.float32)).all() or case[1] != mx.float32
    assert np.allclose(values.min(axis=1), low, rtol=EPS[case[1]])
    assert np.allclose(values.max(axis=1), high, rtol=EPS[case[1]])


@given(st.sampled_from(STEPS), cases, rows, widths, channels, channels, seeds, st.integers(1, 4))
@examples(60)
def test_bands_of_any_height_and_any_threads_give_the_same_bits(
    step: Step, case: tuple[str, mx.Dtype], height: int, width: int, inputs: int, outputs: int, seed: int, threads: int
) -> None:
    kernels, step, weights, x, affine, skip = random_step(step, case, height, width, inputs, outputs, seed, READS[-1])
    want = bits(whole(kernels, step, weights, x, affine, skip))
    kernels = kernels_of(*case, threads)
    prepared, grown = kernels.prepare(step, weights), step.factor
    above, below = (kernels.edge(step, x.shape[2]) * edge for edge in step.zeros)
    pieces = above
    cuts = np.random.default_rng(seed).integers(0, x.shape[1] + 1, 2).tolist()
    for top, bottom in pairwise(sorted({0, x.shape[1], *cuts})):
        pieces += kernels.activate(step, kernels.join([(x, top, bottom)]), affine)
    pieces += below
    parts = []
    while (left := step.gives(kernels.count(pieces))) > 0:
        some = int(np.random.default_rng(seed + left).integers(1, left + 1))
        done = height - left
        aside = None if skip is None else kernels.join([(skip, done, done + some)])
        parts.append(kernels.conv(step, prepared, kernels.span(pieces, 0, step.reads(some)), aside))
        pieces = kernels.span(pieces, some * step.stride, kernels.count(pieces))
        assert parts[-1].shape[1] == some * grown
    assert bits(mx.concatenate(parts, axis=1)) == want


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_that_are_done_are_freed(case: tuple[str, mx.Dtype]) -> None:
    """What is carried over is a copy: it does not hold on to its band."""
    kernels, step = kernels_of(*case), Step("conv", "conv", 64, 4)
    x = random((1, 100, 50, 64), case[1], np.random.default_rng(0))
    size, before = x.nbytes, mx.get_active_memory()
    pieces = kernels.span(kernels.activate(step, x, None), 98, 100)
    del x
    assert kernels.count(pieces) == 2
    assert mx.get_active_memory() <= before - size + size // 50 + (16 << 10)  # pages


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_not_finite_is_told_of_its_rows(case: tuple[str, mx.Dtype], value: float) -> None:
    step = Step("conv", "conv", 20, 40)
    kernels, _, weights, x, _, _ = random_step(step, case, 9, 90, 20, 40, 0, "as it is")
    whole(kernels, step, weights, x, None, None)
    low, high = kernels.extent()
    assert (np.isfinite(low) & np.isfinite(high) & (low < high)).all()
    x[0, 4, 80, 3] = value
    out = whole(kernels, step, weights, x, None, None)
    low, high = kernels.extent()
    seen = ~(np.isfinite(low) & np.isfinite(high))
    assert seen.tolist() == [False] * 3 + [True] * 3 + [False] * 3
    assert not np.isfinite(kernels.largest(out)).all()


@pytest.mark.parametrize("case", [case for case in CASES if case[1] == mx.float16], ids=str)
def test_an_overflow_of_the_storage_type_is_told(case: tuple[str, mx.Dtype]) -> None:
    step = Step("conv", "conv", 3, 5)
    kernels, _, weights, x, _, _ = random_step(step, case, 3, 9, 3, 5, 0, "as it is")
    assert np.isfinite(kernels.largest(whole(kernels, step, weights, x, None, None))).all()
    weights["bias"], x = mx.full((5,), 65504.0).astype(mx.float16), 20 * x
    out = whole(kernels, step, weights, x, None, None)
    assert np.isfinite(kernels.extent()).all(), "it is the bias that makes it overflow"
    assert not np.isfinite(kernels.largest(out)).all()
    assert not np.isfinite(wide(out)).all()


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
    rng = np.random.default_rng(seed)
    step = Step("attention", "attention", count, count, kernel=1, norm=NORM, opens=True, closes=Skip(count))
    kernels, weights, dtype = kernels_of(*case), weights_of(step, case[1], rng), case[1]
    weights = {name: (array * count**-0.5).astype(dtype) for name, array in weights.items()}
    x = random((1, height, width, count), dtype, rng)
    affine = kernels.affine(*rng.standard_normal((2, count)))
    prepared = kernels.prepare(step, weights)
    keys = kernels.keys(step, prepared, x, affine)
    assert (keys.shape, keys.dtype) == ((1, height, width, 2 * count), dtype)
    w = {name: wide(array) for name, array in weights.items()}
    normal = (wide(x) * wide(affine[0]) + wide(affine[1])).reshape(-1, count)
    exact_keys = np.concatenate([normal @ w[f"{n}.weight"].T + w[f"{n}.bias"] for n in ("to_k", "to_v")], axis=1)
    unit = 2.0**-8 if case[0] in ROUNDED else EPS[dtype]
    assert abs(wide(keys).reshape(-1, 2 * count) - exact_keys).max() <= 8 * unit * (1 + abs(exact_keys).max())
    # From here on with the very keys it has, so that their rounding does not count twice.
    k, v = np.split(wide(keys).reshape(-1, 2 * count), 2, axis=1)
    s = (normal @ w["to_q.weight"].T + w["to_q.bias"]) @ k.T * count**-0.5
    p = np.exp(s - s.max(axis=1, keepdims=True))
    found = p @ v / p.sum(axis=1, keepdims=True) @ w["to_out.0.weight"].T + w["to_out.0.bias"]
    exact = wide(x).reshape(-1, count) + found
    tall = block_rows(width) if seed % 2 else 1 + seed % 3

    def ask(top: int, bottom: int) -> mx.array:
        blocks = (keys[:, i : i + tall] for i in range(0, height, tall))
        return kernels.attend(step, prepared, kernels.join([(x, top, bottom)]), affine, blocks)

    out = ask(0, height)
    assert (out.shape, out.dtype) == (x.shape, dtype)
    slack = unit * (1 + abs(s).max()) * (4 + abs(v).max()) * (4 + math.sqrt(count))
    assert abs(wide(out).reshape(-1, count) - exact).max() <= slack + 1e-5
    assert bits(mx.concatenate([ask(row, row + 1) for row in range(height)], axis=1)) == bits(out)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_idle_step_is_told_from_a_broken_one(case: tuple[str, mx.Dtype]) -> None:
    kernels, step, weights, x, affine, _ = random_step(NORMED, case, 5, 9, 6, 40, 0, READS[-1])
    edges = kernels.edge(step, 9)
    pieces = [*edges, *kernels.activate(step, x, affine), *edges]
    assert not kernels.idle(step, kernels.prepare(step, weights), pieces)
    flat = kernels.activate(step, mx.ones_like(x), kernels.affine(np.zeros(6), np.ones(6)))
    assert kernels.idle(step, kernels.prepare(step, weights), flat)
    weights["weight"] = mx.full(weights["weight"].shape, 0.5).astype(case[1])
    assert kernels.idle(step, kernels.prepare(step, weights), pieces)


@pytest.mark.parametrize("path", PATHS)
def test_kernels_of_different_threads_keep_to_their_own_scratch(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one decode asks for must not reach another that goes on: its scratch is for fewer threads."""
    dtype, rng, fence = mx.bfloat16, np.random.default_rng(0), 4 << 20
    fenced: list[tuple[int, np.ndarray]] = []

    def fenced_room(shape: int | tuple[int, ...], kind: mx.Dtype = mx.uint8) -> mx.array:
        if not isinstance(shape, int):
            return room(shape, kind)
        array = room(shape + fence)
        fenced.append((shape, np.asarray(array)))
        fenced[-1][1][shape:] = 0xA5
        return array

    monkeypatch.setattr(native_rows, "room", fenced_room)
    conv, asks = sized(CONV, 40, 8), Step("a", "attention", 40, 40, kernel=1, norm=NORM, opens=True, closes=Skip(40))
    x, asked = (random((1, *shape, 40), dtype, rng) for shape in [(12, 200), (2, 160)])
    weights, wants = weights_of(conv, dtype, rng), weights_of(asks, dtype, rng)
    few, many = kernels_of(path, dtype, 1), kernels_of(path, dtype, 8)
    affine, seen = few.affine(*rng.standard_normal((2, 40))), set()
    for kernels in (few, many, few):
        out = whole(kernels, conv, weights, x, affine, None)
        prepared = kernels.prepare(asks, wants)
        keys = kernels.keys(asks, prepared, asked, affine)
        found = kernels.attend(asks, prepared, asked, affine, iter([keys]))
        moments = b"".join(array.tobytes() for array in kernels.moments(x))
        seen.add((bits(out), bits(keys), bits(found), moments))
    assert len(seen) == 1
    assert all((memory[size:] == 0xA5).all() for size, memory in fenced)
