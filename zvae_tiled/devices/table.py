"""The devices there are. Each is a folder with a ``memory.py`` and a ``kernels.py``, and a line in the table."""

from __future__ import annotations

from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu import memory as mlx_cpu
from zvae_tiled.devices.mlx_gpu import memory as mlx_gpu

_TABLE: tuple[Device, ...] = (
    mlx_cpu.CPU,
    mlx_gpu.METAL,
    mlx_gpu.CUDA,
)

DEVICES = {device.name: device for device in _TABLE}
"""Devices by their names. The last that is there computes; native kernels are the CPU's, where they are faster."""

DEVICE_KINDS = tuple(device.kind for device in _TABLE)


def likely_device() -> str:
    """Guess which kind MLX would compute on here, without importing it."""
    return next(device.kind for device in reversed(_TABLE) if device.likely())
