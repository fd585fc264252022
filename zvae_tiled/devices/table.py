"""The table of devices. Each device has a folder with ``memory.py`` and ``kernels.py``, and a line here."""

from __future__ import annotations

import os

from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu import memory as mlx_cpu
from zvae_tiled.devices.mlx_gpu import memory as mlx_gpu
from zvae_tiled.errors import InputError

VARIABLE = "ZVAE_DEVICE"

_TABLE: tuple[Device, ...] = (
    mlx_cpu.CPU,
    mlx_gpu.METAL,
    mlx_gpu.CUDA,
)

DEVICES = {device.name: device for device in _TABLE}
"""Devices by name. MLX computes on the last one that is present. A CPU uses native kernels if they are faster."""

DEVICE_KINDS = tuple(device.kind for device in _TABLE)


def wants_cpu() -> bool:
    """Return whether ``ZVAE_DEVICE`` asks for the CPU, although MLX may have a GPU.

    Raises:
        InputError: It has another value.
    """
    asked = os.environ.get(VARIABLE)
    if asked not in (None, mlx_cpu.CPU.kind):
        raise InputError(
            f"{VARIABLE} must be cpu, it is {asked!r}", f"Unset {VARIABLE}: MLX then computes on its default device."
        )
    return asked is not None


def likely_device() -> str:
    """Return the kind of device that MLX would probably compute on here, without importing MLX."""
    if wants_cpu():
        return mlx_cpu.CPU.kind
    return next(device.kind for device in reversed(_TABLE) if device.likely())
