"""Devices by their names, and the one MLX is likely to use here, without importing MLX."""

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
"""Devices a plan can be made for."""


def named_device(name: str, dtype: str) -> Device:
    """Return a device by its name; ``cpu`` is this CPU, with the kernels that compute on it.

    Raises:
        PlanError: No device has this name.
    """
    one_of("device", name, DEVICE_NAMES)
    return cpu_device(dtype == "bfloat16") if name == "cpu" else DEVICES[name]


def unprobed_device(dtype: str) -> Device:
    """Return the device MLX is likely to use here, as it was last calibrated."""
    kind = likely_device()
    device = named_device(kind, dtype)
    found = newest(kind, metadata.version("mlx")) if installed("mlx") else None
    return device if found is None else apply(device, found)


def device_of(case: Case) -> Device:
    """Return this machine's device, as it was calibrated, if the case is for its kind; else the one that is named."""
    here = unprobed_device(case.dtype)
    if case.device == here.name or (case.kind == here.kind and case.device not in DEVICES):
        return here
    return named_device(case.device if case.device in DEVICES else case.kind, case.dtype)
