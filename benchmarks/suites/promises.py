"""What plans promise up to 32768² on the machines users have: computed from shapes, nothing is run."""

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
"""GB of memory."""

PICTURES = (2048, 4096, 8192, 16384, 32768)


def rows() -> Iterator[Row]:
    """Yield a row a device, picture and machine."""
    where = {"commit": commit(), "version": __version__}
    for device in (METAL, CPU):
        for pixels in PICTURES:
            for gigabytes in MACHINES:
                made = promised(pixels, gigabytes, device)
                row = Row("promises", f"{gigabytes} GB", "z-image", pixels, pixels, "bfloat16")
                row = replace(row, environment={**where, "device": device.kind})
                yield (
                    row
                    if made is None
                    else replace(
                        row,
                        budget=made.budget,
                        plan=made.digest,
                        predicted_peak=made.predicted_peak,
                        flops=made.predicted_flops,
                        note=_price(made),
                    )
                )


def _price(made: Plan) -> str:
    again = [f"{made.extra_flops:.0%} again"] if made.extra_flops >= 0.005 else []
    return ", ".join(again + ([f"{made.spilled / 1e9:,.0f} GB disk"] if made.spilled else []))


def promised(pixels: int, gigabytes: int, device: Device) -> Plan | None:
    """Return the plan for a square picture whose rows stream into a file; None if nothing fits.

    The budget is the share that is taken where nobody names one, of a machine with nothing else in its memory.
    """
    size, latents = int(gigabytes * 1e9 * SAFE_SHARE), pixels // Z_IMAGE.scale
    # Metal's largest buffer grows with the machine; half its memory is what Apple's drivers give at least.
    device = replace(device, max_buffer=int(gigabytes * 1e9) // 2)
    case = Case(Z_IMAGE, latents, latents, device.name, output="rows")
    try:
        return make_plan(case, Exact(), Budget(size, "a machine"), device)
    except BudgetError:
        return None
