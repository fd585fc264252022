"""Computes what plans predict for up to 32768² on common machines. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.case import Z_IMAGE
from benchmarks.runner import commit
from zvae_tiled import BudgetError, Plan, __version__
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.mlx_gpu.memory import METAL
from zvae_tiled.planner.budget import SAFE_SHARE, Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact
from zvae_tiled.report.figures import Row

MACHINES = (8, 16, 24, 64, 128)
"""Memory of the machines in GB."""

PICTURES = (2048, 4096, 8192, 16384, 32768)


def rows() -> Iterator[Row]:
    """Yield a row per device, picture and machine."""
    where = {"commit": commit(), "version": __version__}
    for device in (METAL, CPU):
        for pixels in PICTURES:
            for gigabytes in MACHINES:
                plan = promised(pixels, gigabytes, device)
                row = Row("promises", f"{gigabytes} GB", "z-image", pixels, pixels, "bfloat16")
                row = replace(row, environment={**where, "device": device.kind})
                yield (
                    row
                    if plan is None
                    else replace(
                        row,
                        budget=plan.budget,
                        plan=plan.digest,
                        predicted_peak=plan.predicted_peak,
                        flops=plan.predicted_flops,
                        note=_price(plan),
                    )
                )


def _price(plan: Plan) -> str:
    again = [f"{plan.extra_flops:.0%} again"] if plan.extra_flops >= 0.005 else []
    return ", ".join(again + ([f"{plan.spilled / 1e9:,.0f} GB disk"] if plan.spilled else []))


def promised(pixels: int, gigabytes: int, device: Device) -> Plan | None:
    """Return the plan for a square picture whose rows stream into a file; None if no plan fits.

    The budget is the default share of a machine's memory, with no other program in it.
    """
    size, latents = int(gigabytes * 1e9 * SAFE_SHARE), pixels // Z_IMAGE.scale
    # Metal's largest buffer grows with the machine: Apple's drivers allow at least half of the memory.
    device = replace(device, max_buffer=int(gigabytes * 1e9) // 2)
    case = Case(Z_IMAGE, latents, latents, device.name, output="rows")
    try:
        return make_plan(case, Exact(), Budget(size, "a machine"), device)
    except BudgetError:
        return None
