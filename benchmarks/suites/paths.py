"""Runs the same decode by each path of kernels that this machine has, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group
from zvae_tiled.devices.here import device_kind
from zvae_tiled.devices.native_cpu.choice import BFLOAT16, FASTEST_FIRST, MLX, native_status


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group per type, on CPUs only. float32 is never computed by a path that multiplies bfloat16."""
    del large, folder
    if device_kind() != "cpu":
        return
    pixels, rounds = (64, 1) if quick else (256, 2)
    paths = [path for path in FASTEST_FIRST if path in native_status().runs]
    for dtype in ("bfloat16", "float32"):
        fitting = [MLX, *(path for path in reversed(paths) if dtype == "bfloat16" or path not in BFLOAT16)]
        yield Group(
            tuple(Case("paths", "ours", pixels, pixels, dtype, kernels=path, rounds=rounds) for path in fitting)
        )
