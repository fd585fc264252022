"""The device that MLX computes on, as the planner sees it, and the kernels for it."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import mlx.core as mx

from zvae_tiled.blas import preload
from zvae_tiled.kernels.base import Kernels
from zvae_tiled.kernels.mlx_rows import RowKernels
from zvae_tiled.kernels.mlx_strips import StripKernels
from zvae_tiled.kernels.native import MLX, cpu_device, native_path, native_status, native_workspace
from zvae_tiled.kernels.native_rows import NativeKernels
from zvae_tiled.plan.calibration import Calibration, apply, bare_workspace, load
from zvae_tiled.plan.device import DEVICES, Device
from zvae_tiled.plan.workspace_gpu import MetalWorkspace
from zvae_tiled.plan.workspace_native import NativeWorkspace


def device_kind() -> str:
    """Return ``cpu``, ``metal`` or ``cuda``: what MLX's default device is."""
    if mx.default_device().type == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def device_name() -> str:
    """Return what the device calls itself; a CPU with its kernels or its BLAS: a factor of 30 in speed, or more."""
    name = str(mx.device_info(mx.default_device()).get("device_name", "unknown"))
    if device_kind() != "cpu":
        return name
    status = native_status()
    return f"{name}, BLAS {preload().name}" if status.path == MLX else f"{name}, {status.path} × {status.threads}"


def mlx_version() -> str:
    """Return MLX's version."""
    return metadata.version("mlx")


def stored_calibration() -> tuple[Calibration | None, str]:
    """Return this device's calibration if there is one, and in one sentence why there is none."""
    return load(device_kind(), device_name(), mlx_version())


def this_device(dtype: mx.Dtype = mx.bfloat16, calibrated: bool = True) -> Device:
    """Return the device MLX computes on, as a VAE of this type sees it.

    Args:
        dtype: The VAE's type.
        calibrated: With the stored calibration's figures, if there are any.
    """
    kind = device_kind()
    device = cpu_device(dtype == mx.bfloat16) if kind == "cpu" else DEVICES[kind]
    largest = mx.device_info(mx.default_device()).get("max_buffer_length")  # Metal has a limit, the others none
    if largest is not None:
        device = replace(device, max_buffer=int(largest))
    found = stored_calibration()[0] if calibrated else None
    return apply(device, found) if found is not None else device


def kernels_for(device: Device, dtype: mx.Dtype) -> Kernels[mx.array]:
    """Return the kernels whose memory the device's Workspace predicts."""
    workspace = bare_workspace(device)
    if isinstance(workspace, NativeWorkspace):
        path = native_path(native_status(), dtype == mx.bfloat16)
        assert path is not None, "the device was made for native kernels"
        # Otherwise they would write beyond what they are given.
        assert workspace == native_workspace(path, workspace.threads), "the device was made for another type"
        return NativeKernels(dtype, path, workspace)
    if device.kind == "cpu":
        return RowKernels(dtype)
    return StripKernels(dtype, winograd=not isinstance(workspace, MetalWorkspace) or workspace.winograd)


def working_set_limit() -> int | None:
    """Return the bytes beyond which a GPU gets slow or refuses; None on a CPU."""
    info = mx.device_info(mx.default_device())
    if device_kind() == "cpu":
        return None
    if "free_memory" in info:  # CUDA: others may use the card too; what MLX holds counts as ours
        return int(info["free_memory"]) + mx.get_active_memory() + mx.get_cache_memory()
    limit = info.get("max_recommended_working_set_size", info.get("total_memory"))
    return None if limit is None else int(limit)
