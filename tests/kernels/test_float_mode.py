"""The bits of native kernels do not depend on how the calling program rounds."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.cases import weights_of
from tests.kernels.native import CASES, kernels_of
from zvae_tiled.chain import Step
from zvae_tiled.devices.native_cpu.arrays import memory_of

FLUSH = 0x8040
"""The bits of MXCSR that flush subnormal results and take subnormal inputs for zeros."""

MXCSR = 7
"""Its place in glibc's `fenv_t`, in words of 32 bits."""


@contextmanager
def flushed_to_zero() -> Iterator[None]:
    """Let this thread flush subnormal numbers, as torch.set_flush_denormal and -ffast-math do."""
    library, before, changed = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 8)(), (ctypes.c_uint32 * 8)()
    library.fegetenv(before)
    library.fegetenv(changed)
    changed[MXCSR] |= FLUSH
    library.fesetenv(changed)
    try:
        yield
    finally:
        library.fesetenv(before)


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="another register")
@pytest.mark.skipif(not CASES, reason="built without the native kernels")
def test_flushing_to_zero_changes_nothing_whichever_thread_computes() -> None:
    step = Step("conv", "conv", 8, 32, kernel=1)
    kernels, rng = kernels_of("portable", mx.float16, 2), np.random.default_rng(0)
    weights = kernels.prepare(step, {**weights_of(step, mx.float16, rng), "bias": mx.zeros(32)})
    x = kernels.from_host(1e-5 * rng.standard_normal((64, 32, 8), np.float32))  # subnormal numbers of float16
    want = memory_of(kernels.conv(step, weights, kernels.activate(step, x, None), None)).tobytes()
    with flushed_to_zero():
        assert np.float32(1e-39) * np.float32(1) == 0, "this thread flushes"
        for _ in range(3):
            assert memory_of(kernels.conv(step, weights, kernels.activate(step, x, None), None)).tobytes() == want
    assert np.float32(1e-39) * np.float32(1) != 0
