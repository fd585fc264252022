"""Scale: time and memory from 256² up, measured; and what the planner promises up to 32768² on the machines users have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group
from zvae_tiled import BudgetError, VAEConfig
from zvae_tiled.budget import SAFE_SHARE, Budget
from zvae_tiled.plan.device import DEVICES
from zvae_tiled.plan.make import make_plan
from zvae_tiled.plan.plan import Plan

MACHINES = (8, 16, 24, 64, 128)
"""GB of memory."""

PICTURES = (2048, 4096, 8192, 16384, 32768)
Z_IMAGE = VAEConfig.preset("z-image")


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group a size; the height grows by itself too, under one budget."""
    del folder
    for pixels in (128, 256) if quick else (256, 512, 768, 1024, 2048, 4096) if large else (256, 512, 768):
        yield Group(tuple(Case("scale", "ours", pixels, pixels, budget=budget) for budget in ("ample", "least")))
    for height in (128, 256) if quick else (256, 512, 1024, 2048, 4096) if large else (256, 512, 1024):
        yield Group((Case("scale", "ours", height, 256, budget="200MB", label="zvae_tiled, 256 wide in 200 MB"),))


def promised(pixels: int, gigabytes: int, device: str) -> Plan | None:
    """Return the plan for a square picture whose rows stream into a file; None if nothing fits.

    The budget is the share that is taken where nobody names one, of a machine with nothing else in its memory.
    """
    size, latents = int(gigabytes * 1e9 * SAFE_SHARE), pixels // Z_IMAGE.scale
    # Metal's largest buffer grows with the machine; half its memory is what Apple's drivers give at least.
    kind = replace(DEVICES[device], max_buffer=int(gigabytes * 1e9) // 2)
    try:
        return make_plan(Z_IMAGE, latents, latents, Budget(size, True, "a machine"), kind, output="rows")
    except BudgetError:
        return None
