"""Chooses between a stored calibration and a new one: a speed is never replaced by a lower one."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.devices.speeds import NO_LIMIT
from zvae_tiled.planner.calibration import Calibration

UNITS = {
    "convolutions": "GFLOP/s in convolutions",
    "maps": "GB/s through their maps",
    "attention": "GFLOP/s in attention",
    "moments": "GB/s for norms",
    "weights": "GB/s of weights",
}
"""The speeds of a type, and their units in words."""

HIDDEN = {
    "convolutions": "convolutions in the time of their maps",
    "maps": "maps in the time of their convolutions",
}
"""What is said of a speed that takes no time: on a fast device one of the two may hide the other."""


def better_of(stored: Calibration | None, fresh: Calibration) -> Calibration:
    """Return the fresh calibration, with the stored speeds that are higher.

    A lower speed mostly means that other programs computed meanwhile. Memory does not depend on them: its margin is
    the fresh one.
    """
    if stored is None:
        return fresh
    return replace(
        fresh,
        bfloat16=fresh.bfloat16.better(stored.bfloat16),
        float32=fresh.float32.better(stored.float32),
        disk=max(fresh.disk, stored.disk),
    )


def kept(fresh: Calibration, chosen: Calibration) -> list[str]:
    """Return a line for each speed that was kept."""
    return [
        f"kept {now}: this run measured {measured}"
        for now, measured in zip(listed(chosen), listed(fresh), strict=True)
        if now != measured
    ]


def listed(calibration: Calibration) -> list[str]:
    """Return a line for the speeds of each type, and one for the disk."""
    typed = {"bfloat16": calibration.bfloat16, "float32": calibration.float32}
    lines = [
        f"{kind}: " + ", ".join(_in_words(name, getattr(speeds, name)) for name in UNITS)
        for kind, speeds in typed.items()
    ]
    return [*lines, f"disk: {calibration.disk / 1e9:,.2f} GB/s"]


def _in_words(name: str, speed: float) -> str:
    return HIDDEN[name] if speed == NO_LIMIT and name in HIDDEN else f"{speed / 1e9:,.3g} {UNITS[name]}"
