"""Toy devices with grains: rows that a kernel computes together, as a two-dimensional Winograd kernel would."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import mlx.core as mx
import pytest

from zvae_tiled.chain import Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_cpu.memory import CpuWorkspace
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace


def grain_of(step: Step) -> int:
    """4 rows of a 3×3 convolution, and 2 before doubling."""
    if step.upsample:
        return 2
    return 4 if step.kernel == 3 and step.stride == 1 else 1


@dataclass(frozen=True)
class GrainedRows(CpuWorkspace):
    """As MLX on a CPU."""

    def grain(self, step: Step) -> int:
        """Rows that belong together."""
        return grain_of(step)


@dataclass(frozen=True)
class GrainedNative(NativeWorkspace):
    """As the native kernels."""

    def grain(self, step: Step) -> int:
        """Rows that belong together."""
        return grain_of(step)


def grained(device: Device) -> Device:
    """The device with grains."""
    space = device.workspace
    return replace(
        device, workspace=GrainedNative(**asdict(space)) if isinstance(space, NativeWorkspace) else GrainedRows()
    )


def give_grains(patch: pytest.MonkeyPatch) -> None:
    """Give the CPU's kernels grains. They compute as ever."""
    for kind in (RowKernels, CpuWorkspace, NativeWorkspace):
        patch.setattr(kind, "grain", lambda self, step: grain_of(step))


def compute_by_grains(patch: pytest.MonkeyPatch) -> None:
    """Let MLX's kernels change the rows of each grain by a number that depends on all of them.

    They count from the first row that they get. So their bits show where rows were cut.
    """
    convolve = RowKernels.conv

    def changed(kernels: RowKernels, step: Step, weights: Any, pieces: Any, skip: Any) -> mx.array:
        out = convolve(kernels, step, weights, pieces, skip)
        tall = grain_of(step) * step.factor
        if tall == 1:
            return out
        parts = [out[:, top : top + tall].astype(mx.float32) for top in range(0, out.shape[1], tall)]
        moved = mx.concatenate([part + mx.max(mx.abs(part)) / 64 for part in parts], axis=1).astype(out.dtype)
        mx.eval(moved)
        return moved

    patch.setattr(RowKernels, "conv", changed)
