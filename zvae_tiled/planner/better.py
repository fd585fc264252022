"""Chooses between a stored calibration and a new one: a speed is never replaced by a lower one."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.planner.calibration import Calibration

SPEEDS = {
    "flops": "GFLOP/s in convolutions",
    "wide": "GFLOP/s in convolutions of float32",
    "bandwidth": "GB/s in memory",
    "disk": "GB/s to disk",
}
"""The measured speeds, and their units in words."""


def better_of(stored: Calibration | None, fresh: Calibration) -> Calibration:
    """Return the fresh calibration, with the stored speeds that are higher.

    A lower speed mostly means that other programs computed meanwhile. Memory does not depend on them: its margin is
    the fresh one.
    """
    if stored is None:
        return fresh
    return replace(fresh, **{name: max(getattr(stored, name), getattr(fresh, name)) for name in SPEEDS})


def kept(fresh: Calibration, chosen: Calibration) -> list[str]:
    """Return a line for each speed that was kept, because the fresh one is lower."""
    return [
        f"kept {getattr(chosen, name) / 1e9:,.3g} {unit}: this run measured {getattr(fresh, name) / 1e9:,.3g}"
        for name, unit in SPEEDS.items()
        if getattr(chosen, name) > getattr(fresh, name)
    ]
