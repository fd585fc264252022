"""Native paths for the tests, and Steps run on them."""

from __future__ import annotations

import mlx.core as mx

from zvae_tiled.devices.native_cpu.choice import FASTEST_FIRST, native_workspace
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.library import Library, open_library

LIBRARY = open_library()
PATHS = sorted(LIBRARY.runs) if isinstance(LIBRARY, Library) else []
"""The paths this machine can run; none where the package was installed without a compiler."""

ROUNDED = {"amx", "avx512bf16", "avx512vnni", "neon_bf16", "amx_emulated"} & set(PATHS)
"""Paths that round their factors to bfloat16, or to whole numbers."""

assert set(PATHS) <= {*FASTEST_FIRST, "amx_emulated"}


def types_of(path: str) -> list[mx.Dtype]:
    """The storage types a path computes for."""
    return [mx.bfloat16] if path in ROUNDED else [mx.float32, mx.bfloat16, mx.float16]


def kernels_of(path: str, dtype: mx.Dtype, threads: int = 2) -> NativeKernels:
    assert isinstance(LIBRARY, Library)
    found = LIBRARY.runs[path]
    return NativeKernels(dtype, found, native_workspace(found, threads))


CASES = [(path, dtype) for path in PATHS for dtype in types_of(path)]
