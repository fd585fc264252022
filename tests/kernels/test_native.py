"""The native kernels, on every path of this machine: against float64, and the same bits for any bands and threads."""

from __future__ import annotations

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
    EPS,
    NORM,
    READS,
    RELUS,
    RMS,
    STEPS,
    random,
    sized,
    weights_of,
    wide,
)
from tests.kernels.native import CASES, PATHS, ROUNDED, kernels_of
from tests.kernels.native_steps import both, cases, random_step, rows, seeds, step64, whole, widths
from tests.support.plans import bits
from tests.support.samples import examples
from zvae_tiled.chain import Skip, Step
from zvae_tiled.devices.counted import active_memory, room, spare
from zvae_tiled.devices.native_cpu import attention as native_attention
from zvae_tiled.devices.native_cpu import kernels as native_rows
from zvae_tiled.devices.native_cpu.arrays import NUMPY

pytestmark = pytest.mark.skipif(not PATHS, reason="built without the native kernels")


@given(
    st.sampled_from((*STEPS, *RELUS)),
    cases,
    rows,
    widths,
    both,
    seeds,
    st.sampled_from((*READS, RMS)),
)
@examples(200)
def test_a_step_is_right(
    step: Step, case: tuple[str, mx.Dtype], height: int, width: int, both: tuple[int, int], seed: int, through: str
) -> None:
    inputs, outputs = both
    kernels, step, weights, x, affine, skip = random_step(step, case, height, width, inputs, outputs, seed, through)
    out = whole(kernels, step, weights, x, affine, skip)
    grown = step.factor
    assert (out.shape, out.dtype) == ((1, height * grown, width * grown, outputs), NUMPY[case[1]])
    # Activated rows and folded weights are rounded before they are multiplied, each by half a unit in the last place.
    squared = kernels.workspace.squared(step) is not None
    roundings = max(bool(step.norm) + step.upsample, squared) if case[0] in ROUNDED else 0
    exact, slack = step64(step, weights, x, affine, skip, roundings * 2.0**-8 or 2.0**-20)
    assert (abs(wide(out)[0] - exact) <= slack).all()
    assert np.isfinite(kernels.largest(out)).all()
    bare = replace(step, closes=None)
    none = {name: mx.zeros_like(array) if name == "bias" else array for name, array in weights.items()}
    values = wide(whole(kernels, bare, none, x, affine, None)).reshape(height, -1)
    low, high = kernels.extent()
    assert (values.min(axis=1) == low.astype(np.float32)).all() or case[1] != mx.float32
    assert np.isfinite(low).all()
    assert np.allclose(values.min(axis=1), low, rtol=EPS[case[1]])
    assert np.allclose(values.max(axis=1), high, rtol=EPS[case[1]])


@given(st.sampled_from(STEPS), cases, rows, widths, both, seeds, st.integers(1, 4))
@examples(100)
def test_bands_of_any_height_and_any_threads_give_the_same_bits(
    step: Step, case: tuple[str, mx.Dtype], height: int, width: int, both: tuple[int, int], seed: int, threads: int
) -> None:
    inputs, outputs = both
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
        grain = kernels.workspace.grain(step)
        some = min(left, grain * int(np.random.default_rng(seed + left).integers(1, -(-left // grain) + 1)))
        done = height - left
        half = done + some // 2  # rows of the skip may lie anywhere
        spans = [] if skip is None else [(kernels.join([(skip, done, half)]), 0, half - done)] if half > done else []
        aside = None if skip is None else kernels.beside([*spans, (skip, half, done + some)])
        parts.append(kernels.conv(step, prepared, kernels.span(pieces, 0, step.reads(some)), aside))
        pieces = kernels.span(pieces, some * step.stride, kernels.count(pieces))
        assert parts[-1].shape[1] == some * grown
    assert bits(np.concatenate(parts, axis=1)) == want


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rows_that_are_done_are_freed(case: tuple[str, mx.Dtype]) -> None:
    """Rows that are carried over are copies, so their band can be freed."""
    kernels, step = kernels_of(*case), Step("conv", "conv", 64, 4)
    x = random((1, 100, 50, 64), case[1], np.random.default_rng(0))
    size, before = x.nbytes, active_memory()
    pieces = kernels.span(kernels.activate(step, x, None), 98, 100)
    del x
    assert kernels.count(pieces) == 2
    assert active_memory() <= before - size + size // 50 + (16 << 10)  # rounded up to pages


@pytest.mark.parametrize("inputs", [15, 40])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.sample(2)
def test_kernels_of_different_threads_keep_to_their_own_scratch(
    path: str, inputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decode's number of threads must not reach another decode: its scratch is for fewer threads.

    What scratch and packed weights held before, here NaN, must not reach results.
    """
    dtype, rng, fence = mx.bfloat16, np.random.default_rng(0), 4 << 20
    fenced: list[tuple[int, np.ndarray]] = []

    def fill(size: int, memory: np.ndarray) -> None:
        memory[:size], memory[size:] = 0xFF, 0xA5
        fenced.append((size, memory))

    def fenced_spare(size: int) -> np.ndarray:
        memory = spare(size + fence)
        fill(size, memory)
        return memory

    def fenced_room(shape: int | tuple[int, ...], kind: Any = np.uint8) -> np.ndarray:
        if not isinstance(shape, int):
            return room(shape, kind)
        memory = room(shape + fence)
        fill(shape, memory)
        return memory

    for module in (native_rows, native_attention):
        monkeypatch.setattr(module, "spare", fenced_spare)
    monkeypatch.setattr(native_rows, "room", fenced_room)
    asks = Step("a", "attention", inputs, inputs, kernel=1, norm=NORM, opens=True, closes=Skip(inputs))
    conv = sized(CONV, inputs, 8)
    x, asked = (random((1, *shape, inputs), dtype, rng) for shape in [(12, 200), (2, 160)])
    weights, wants = weights_of(conv, dtype, rng), weights_of(asks, dtype, rng)
    few, many = kernels_of(path, dtype, 1), kernels_of(path, dtype, 8)
    affine, seen = few.affine(*rng.standard_normal((2, inputs))), set()
    for kernels in (few, many, few):
        out = whole(kernels, conv, weights, x, affine, None)
        prepared = kernels.prepare(asks, wants)
        keys = kernels.keys(asks, prepared, asked, affine)
        found = kernels.attend(asks, prepared, asked, affine, iter([keys]))
        moments = b"".join(array.tobytes() for array in kernels.moments(x))
        seen.add((bits(out), bits(keys), bits(found), moments))
    assert len(seen) == 1
    assert np.isfinite(wide(out)).all()
    assert np.isfinite(wide(found)).all()
    assert all((memory[size:] == 0xA5).all() for size, memory in fenced)
