"""Returns devices by name, and the device that MLX is likely to use here. Imports no MLX."""

from __future__ import annotations

from importlib import metadata

from zvae_tiled.checks import one_of
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.installed import installed
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.devices.table import DEVICES, likely_device
from zvae_tiled.planner.calibration import apply, newest
from zvae_tiled.planner.case import Case

DEVICE_NAMES = ("cpu", *DEVICES)
"""Names of the devices that a plan can be made for."""


def named_device(name: str, dtype: str) -> Device:
    """Return the device with this name. ``cpu`` is this CPU with its fastest kernels.

    Raises:
        PlanError: No device has this name.
    """
    one_of("device", name, DEVICE_NAMES)
    return cpu_device(dtype == "bfloat16") if name == "cpu" else DEVICES[name]


def unprobed_device(dtype: str) -> Device:
    """Return the device that MLX is likely to use here, with its newest calibration."""
    kind = likely_device()
    device = named_device(kind, dtype)
    calibration = newest(kind, metadata.version("mlx")) if installed("mlx") else None
    return device if calibration is None else apply(device, calibration, dtype)


def device_of(case: Case) -> Device:
    """Return this machine's calibrated device if the case is for its kind; else the device that the case names."""
    here = unprobed_device(case.dtype)
    if case.device == here.name or (case.kind == here.kind and case.device not in DEVICES):
        return here
    return named_device(case.device if case.device in DEVICES else case.kind, case.dtype)
