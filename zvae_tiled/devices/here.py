"""Finds the device that MLX computes on, and returns its kernels."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import mlx.core as mx

from zvae_tiled.devices.base import Device
from zvae_tiled.devices.blas import preload
from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.devices.native_cpu.choice import MLX, cpu_device, native_status
from zvae_tiled.devices.table import DEVICES, wants_cpu
from zvae_tiled.planner.budget import Available, available_memory
from zvae_tiled.planner.calibration import Calibration, apply, bare_workspace, load


def device_kind() -> str:
    """Return the kind of MLX's default device: ``cpu``, ``metal`` or ``cuda``.

    Raises:
        InputError: ``ZVAE_DEVICE`` has a value that is not possible.
    """
    if wants_cpu():
        mx.set_default_device(mx.cpu)
    return next(device.kind for device in reversed(DEVICES.values()) if _folder(device).present(device.kind))


def device_name() -> str:
    """Return the device's name. For a CPU, add its kernels or its BLAS, which change the speed 30 times or more."""
    name = str(mx.device_info(mx.default_device()).get("device_name", "unknown"))
    if device_kind() != "cpu":
        return name
    status = native_status()
    return f"{name}, BLAS {preload().name}" if status.path == MLX else f"{name}, {status.path} × {status.threads}"


@cache
def mlx_version() -> str:
    """Return MLX's version."""
    return metadata.version("mlx")


def stored_calibration() -> tuple[Calibration | None, str]:
    """Return this device's calibration, or None, and one sentence that explains the result."""
    return load(device_kind(), device_name(), mlx_version())


def this_device(dtype: mx.Dtype = mx.bfloat16, calibrated: bool = True) -> Device:
    """Return the device that MLX computes on, for a VAE of this type.

    Args:
        dtype: The VAE's type.
        calibrated: Whether to use the figures of a stored calibration.
    """
    kind = device_kind()
    device = cpu_device(dtype == mx.bfloat16) if kind == "cpu" else DEVICES[kind]
    largest = mx.device_info(mx.default_device()).get("max_buffer_length")  # only Metal has a limit
    if largest is not None:
        device = replace(device, max_buffer=int(largest))
    calibration = stored_calibration()[0] if calibrated else None
    name = str(dtype).removeprefix("mlx.core.")
    return apply(device, calibration, name) if calibration is not None else device


def kernels_for(device: Device, dtype: mx.Dtype) -> Kernels[Any]:
    """Return the kernels of a device, those whose memory the device's Workspace predicts."""
    kernels: Kernels[Any] = _folder(device).kernels_for(bare_workspace(device), dtype)
    return kernels


def _folder(device: Device) -> ModuleType:
    return import_module(f"zvae_tiled.devices.{device.folder}.kernels")


def available(weights: int) -> Available:
    """Return the memory that a decode can use now, including its weights, which are loaded already."""
    memory, limit = available_memory(), working_set_limit()
    if limit is not None:  # a GPU's own memory, which on Metal is part of the machine's
        left = Available(max(0, limit - mx.get_active_memory()))
        memory = left if device_kind() != "metal" or left.size < memory.size else memory
    return replace(memory, size=memory.size + weights)


def working_set_limit() -> int | None:
    """Return the bytes beyond which a GPU becomes slow or refuses to allocate; None on a CPU."""
    info = mx.device_info(mx.default_device())
    if device_kind() == "cpu":
        return None
    if "free_memory" in info:  # CUDA: other programs may use the card too. What MLX holds counts as ours.
        return int(info["free_memory"]) + mx.get_active_memory() + mx.get_cache_memory()
    limit = info.get("max_recommended_working_set_size", info.get("total_memory"))
    return None if limit is None else int(limit)
