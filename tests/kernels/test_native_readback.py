"""Native code reads memory back: it finds the sums and magnitudes that NumPy finds, and detects any change."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.cases import STEPS, random, sized, weights_of
from tests.kernels.native import CASES, LIBRARY, PATHS, kernels_of
from zvae_tiled.chain import Step
from zvae_tiled.devices.native_cpu.arrays import memory_of
from zvae_tiled.devices.native_cpu.library import Library
from zvae_tiled.devices.native_cpu.readback import kept, unwritten
from zvae_tiled.devices.storage import magnitudes

pytestmark = pytest.mark.skipif(not PATHS, reason="built without the native kernels")
paths, types = st.sampled_from(PATHS), st.sampled_from([mx.float32, mx.bfloat16, mx.float16])
sizes, seeds = st.integers(1, 40), st.integers(0, 1 << 32)


def written(memory: np.ndarray) -> np.ndarray:
    """Return the sum of bits that a call reports when it writes this memory."""
    bits = memory.view(np.uint32 if memory.itemsize == 4 else np.uint16).astype(np.int64)
    return np.array([(bits + (bits >> 16)).sum()])


@given(paths, types, st.integers(1, 9), st.integers(1, 200), st.integers(1, 3), seeds)
def test_sums_and_magnitudes_are_those_of_numpy(
    path: str, dtype: mx.Dtype, rows: int, numbers: int, threads: int, seed: int
) -> None:
    assert isinstance(LIBRARY, Library)
    rng = np.random.default_rng(seed)
    x = mx.array(rng.standard_normal((rows, numbers)) * 10.0 ** rng.integers(-6, 4, (rows, 1))).astype(dtype)
    memory = memory_of(x)
    good, largest = kept(LIBRARY, path, threads, written(memory), memory)
    assert good
    assert magnitudes(largest, dtype).tolist() == np.abs(np.array(x.astype(mx.float32))).max(axis=1).tolist()
    memory = memory.copy()
    row, bits = rng.integers(rows), memory.view(np.uint32 if memory.itemsize == 4 else np.uint16)
    bits[row, rng.integers(numbers)] ^= bits.dtype.type(1 << rng.integers(8 * memory.itemsize))
    assert not kept(LIBRARY, path, threads, written(memory_of(x)), memory)[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("path", PATHS)
def test_a_row_that_is_not_finite_is_infinite(path: str, dtype: mx.Dtype, value: float) -> None:
    assert isinstance(LIBRARY, Library)
    x = mx.ones((3, 50)).astype(dtype)
    x[1, 40] = value
    largest = kept(LIBRARY, path, 1, written(memory_of(x)), memory_of(x))[1]
    assert magnitudes(largest, dtype).tolist() == [1, np.inf, 1]


@pytest.mark.parametrize("path", PATHS)
def test_as_many_equal_values_as_make_a_sum_of_nothing_are_no_zeros(path: str) -> None:
    """The bits of 1.0, added up 512 times, are a multiple of 2^32: a plain 32-bit sum equals that of zeros."""
    assert isinstance(LIBRARY, Library)
    ones, zeros = np.ones((1, 512), np.float32), np.zeros((1, 512), np.float32)
    assert ones.view(np.uint32).sum(dtype=np.uint32) == 0
    assert not kept(LIBRARY, path, 1, written(ones), zeros)[0]


def test_a_call_that_does_nothing_is_seen_whatever_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(LIBRARY, Library)
    zeros = np.zeros((4, 60), np.float32)
    assert not kept(LIBRARY, PATHS[0], 1, unwritten(2, 3), zeros)[0]
    monkeypatch.setattr(Library, "call", lambda *_: None)
    good, largest = kept(LIBRARY, PATHS[0], 1, unwritten(2, 3), zeros)
    assert not good
    assert not np.isfinite(magnitudes(largest, mx.float32)).any()


@given(st.sampled_from(STEPS), st.sampled_from(CASES), sizes, sizes, st.integers(1, 90), seeds)
@settings(max_examples=60)
def test_healthy_convolutions_keep_what_they_wrote(
    step: Step, case: tuple[str, mx.Dtype], inputs: int, outputs: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    kernels, step = kernels_of(*case), sized(step, inputs, outputs)
    x = random((1, 4 * step.stride, width * step.stride, inputs), case[1], rng)
    x[0, seed % 4] *= [1, 0, np.inf, np.nan][seed % 3]
    kernels.conv(step, kernels.prepare(step, weights_of(step, case[1], rng)), kernels.activate(step, x, None), None)
    assert kernels.intact()
