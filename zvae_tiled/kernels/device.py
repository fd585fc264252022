"""Which device this process computes on."""

from __future__ import annotations

import mlx.core as mx

from zvae_tiled.budget import available_memory
from zvae_tiled.kernels.base import Kernels
from zvae_tiled.kernels.mlx_rows import RowKernels
from zvae_tiled.plan.device import CPU, Device


def this_device() -> Device:
    return CPU


def kernels_for(device: Device, dtype: mx.Dtype) -> Kernels[mx.array]:
    return RowKernels(dtype)


def available_on(device: Device, weights: int) -> int:
    """Return the bytes a decode could use now, its weights, which are loaded already, included."""
    return available_memory() + weights
