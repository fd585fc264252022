"""`Machine`: what differs between workers that compute the same bits, and changes how much memory they take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from zvae_tiled.devices.base import Device
from zvae_tiled.devices.here import this_device
from zvae_tiled.devices.native_cpu.choice import native_status
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace
from zvae_tiled.planner.calibration import MarginWorkspace, bare_workspace


class Machine(NamedTuple):
    """A worker's machine.

    Attributes:
        threads: Threads of its native kernels, each of which has scratch of its own.
        margin: The margin of its calibration.
    """

    threads: int
    margin: float


def this_machine() -> Machine:
    """Return what this worker is."""
    return Machine(native_status().threads, this_device().margin)


def for_all(device: Device, machines: Collection[Machine]) -> Device:
    """Return a device that needs as much memory as any of these machines."""
    space, margin = bare_workspace(device), max(each.margin for each in machines)
    if isinstance(space, NativeWorkspace):
        *fewer, threads = sorted({each.threads for each in machines})
        space = replace(space, threads=threads, fewer=tuple(fewer))
    return replace(device, workspace=space if margin == 1.0 else MarginWorkspace(space, margin), margin=margin)
