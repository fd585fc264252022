"""The native kernels' memory model, held against the allocator: never below what an operation takes, nor far above."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.cases import DOWN, NORM, STEPS, random, sized, weights_of
from tests.kernels.native import CASES, PATHS, kernels_of
from tests.support.samples import examples
from zvae_tiled.chain import DOUBLE, Skip, Step
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.memory import SCRATCH, NativeWorkspace
from zvae_tiled.devices.workspace import block_rows

pytestmark = pytest.mark.skipif(not PATHS, reason="built without the native kernels")
LITTLE = 4096
"""Bytes of single numbers, and of allocations rounded up, which SMALL_CHANGE covers."""

cases, threads = st.sampled_from(CASES), st.integers(1, 5)
rows, widths = st.sampled_from([1, 2, 3, 16, 40]), st.sampled_from([1, 7, 64, 70, 71, 300, 1025])
channels = st.sampled_from([1, 3, 8, 31, 65, 64, 128])


@pytest.fixture(autouse=True)
def _no_cache() -> Iterator[None]:
    gc.collect()  # garbage that is freed during the test would lower its peak
    before = mx.set_cache_limit(0)
    yield
    mx.set_cache_limit(before)


def taken(operation: Callable[[], Any]) -> int:
    """Return the most bytes that an operation takes, its result included."""
    before = active_memory()
    reset_peak()
    result = operation()
    most = max(0, peak_memory() - before)  # where nothing is allocated, the peak stays 0
    del result
    return most


def compare(model: int, most: int, near: float = 1.02) -> None:
    """Compare a prediction with the bytes that were taken."""
    assert most <= model + LITTLE
    assert model <= near * most + 4 * LITTLE


def check(model: int, operation: Callable[[], Any], near: float = 1.02) -> None:
    """Compare a prediction for an operation, its result included, with the bytes it takes."""
    compare(model, taken(operation), near)


def workspace_of(kernels: NativeKernels) -> NativeWorkspace:
    return kernels.workspace


@given(st.sampled_from(STEPS), cases, threads, rows, widths, channels, channels)
@examples(80)
def test_convolving(
    step: Step, case: tuple[str, mx.Dtype], count: int, height: int, width: int, inputs: int, outputs: int
) -> None:
    step, dtype, rng = sized(step, inputs, outputs), case[1], np.random.default_rng(0)
    kernels, weights = kernels_of(*case, count), weights_of(step, dtype, rng)
    space = workspace_of(kernels)
    check(sum(space.prepared(step, dtype.size)), lambda: kernels.prepare(step, weights))
    prepared = kernels.prepare(step, weights)
    x = random((1, step.reads(height), width * step.stride, inputs), dtype, rng)
    skip = random((1, height, width, step.skip), dtype, rng) if step.closes else None
    aside = None if skip is None else kernels.beside([(skip, 0, height)])
    affine = kernels.affine(np.ones(inputs), np.zeros(inputs)) if step.norm else None
    check(space.activate(step, height, width, dtype.size), lambda: kernels.activate(step, x, affine))
    pieces = kernels.activate(step, x, affine)
    result = height * width * step.factor**2 * outputs * dtype.size
    convolved = taken(lambda: kernels.conv(step, prepared, pieces, aside)) - result
    compare(space.conv(step, height, width, dtype.size), convolved)


@given(
    st.sampled_from([case for case in CASES if case[0] != "amx_emulated"] or CASES),  # it takes minutes here
    threads,
    st.sampled_from([1, 2, 5]),
    st.sampled_from([2, 40, 700, 2100]),
    st.sampled_from([1, 8, 65]),
)
@examples(30)
@pytest.mark.bytes
def test_attending(case: tuple[str, mx.Dtype], count: int, height: int, width: int, inputs: int) -> None:
    dtype, rng = case[1], np.random.default_rng(0)
    step = Step("attention", "attention", inputs, inputs, kernel=1, norm=NORM, opens=True, closes=Skip(inputs))
    kernels, weights = kernels_of(*case, count), weights_of(step, dtype, rng)
    space, size = workspace_of(kernels), dtype.size
    check(sum(space.prepared(step, size)), lambda: kernels.prepare(step, weights), 1.5)
    prepared = kernels.prepare(step, weights)
    x, affine = random((1, height, width, inputs), dtype, rng), kernels.affine(np.ones(inputs), np.zeros(inputs))
    result = height * width * inputs * size
    check(2 * result + space.keys(step, height, width, size), lambda: kernels.keys(step, prepared, x, affine))
    keys = random((2, block_rows(width), width, 2 * inputs), dtype, rng)

    def read() -> Iterator[mx.array]:
        for i in range(2):
            one = [mx.concatenate([keys[i : i + 1], keys[:0]])]  # a copy, as read from disk
            mx.eval(one)
            yield one.pop()

    model = result + keys.nbytes // 2 + space.attend(step, height, width, size)
    check(model, lambda: kernels.attend(step, prepared, x, affine, read()), 1.2)


@given(
    st.sampled_from(STEPS), st.integers(1, 64), st.integers(1, 200), st.integers(1, 20000), channels, channels, cases
)
def test_tiles_cover_the_map_and_keep_their_limits(
    step: Step, count: int, height: int, width: int, inputs: int, outputs: int, case: tuple[str, mx.Dtype]
) -> None:
    step, space = sized(step, inputs, outputs), workspace_of(kernels_of(*case, count))
    tile, grain = space.tile(step, height, width), space.grain(step)
    assert 1 <= tile.rows <= min(height + grain - 1, space.tile_rows)
    assert 1 <= tile.columns <= max(70, space.pixels)
    assert tile.rows % grain == tile.columns % grain == 0
    down, rest = divmod(tile.count, tile.across)
    assert rest == 0
    assert (down - 1) * tile.rows < height <= down * tile.rows, "all rows, and no tile without any"
    assert (tile.across - 1) * tile.columns < width <= tile.across * tile.columns
    if space.squared(step) is None:
        line = space.line(step, tile.columns)
        assert tile.scratch >= step.reads(tile.rows) * line + space.pixels * space.pitch(inputs)
        assert tile.rows == 1 or step.reads(tile.rows) * line <= SCRATCH


@given(
    st.sampled_from(STEPS),
    st.sampled_from([1, 2, 5, 16, 64]),
    st.integers(1, 300),
    st.sampled_from([40, 256, 700, 2048, 4096, 16384]),
    channels,
    channels,
    cases,
)
def test_fewer_rows_never_need_more_scratch(
    step: Step, count: int, height: int, width: int, inputs: int, outputs: int, case: tuple[str, mx.Dtype]
) -> None:
    """Plans cost a band of the sweep's full height. The first band has one row less, the last one may have fewer."""
    step, space = sized(step, inputs, outputs), workspace_of(kernels_of(*case, count))
    needs = [space.conv(step, rows, width, case[1].size) for rows in range(1, height + 1)]
    assert needs == sorted(needs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_of_enough_channels_have_squares(case: tuple[str, mx.Dtype]) -> None:
    """Channels need not fill vectors, and the rows of squares begin at multiples of a grain."""
    space, plain = workspace_of(kernels_of(*case)), Step("plain", "conv", 64, 32)
    for inputs, outputs in ((64, 32), (144, 144), (16, 512), (128, 3), (33, 1), (17, 39)):
        step = sized(plain, inputs, outputs)
        doubled = replace(step, resample=DOUBLE)
        has = space.small > 0
        assert [space.squared(step) is not None for step in (step, doubled)] == [has, has]
        assert [space.grain(step) for step in (step, doubled)] == ([4, 2] if has else [1, 1])
    few = [sized(plain, inputs, outputs) for inputs, outputs in ((15, 512), (31, 31), (3, 128))]
    for other in (*few, replace(plain, kernel=1), sized(DOWN, 64, 32)):
        assert space.squared(other) is None
        assert space.grain(other) == 1
