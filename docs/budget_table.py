"""Writes the table of ``docs/budget.md`` from plans alone: nothing is decoded.

``python -m docs.budget_table`` replaces what stands between the markers; a test holds the two together. The
library of the kernels in `KERNELS` says what they allocate, also on a CPU that cannot run them.
"""

from __future__ import annotations

import os
from pathlib import Path

from zvae_tiled import Plan, plan
from zvae_tiled.devices.native_cpu.library import Library, open_library
from zvae_tiled.wording import duration

PAGE = Path(__file__).parent / "budget.md"
BEGIN = "<!-- from here on written by docs/budget_table.py -->\n"
END = "<!-- end of the table -->\n"
KERNELS = {"ZVAE_KERNELS": "avx512bf16", "ZVAE_THREADS": "2"}
"""The CPU of the table: that of docs/benchmarks.md."""

MACHINES = (8, 16, 24, 64)
SHARE = 0.6
"""Share of the machine's memory to name: the system and other programs keep the rest."""

DEVICES = ("cpu", "metal")
STEP, LARGE = 64, 8192
"""Pixels between the sides that are tried; and the side of a picture that no row keeps in memory."""


def main() -> None:
    """Write the page."""
    plan_for_that_cpu()
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(head + BEGIN + table() + END + rest.partition(END)[2])


def plan_for_that_cpu() -> None:
    """Let this process plan for the CPU of the table."""
    os.environ.update(KERNELS)
    library = open_library()
    assert isinstance(library, Library), library
    library.runs = library.built


def table() -> str:
    """Return one row a machine, as Markdown."""
    names = ["machine", "budget", "largest picture kept in memory", "its time on 2 CPU cores", "on a Mac (M1)"]
    large = [f"{LARGE}² on 2 CPU cores", "on a Mac (M1)", "its disk"]
    rows = [names + large, ["---:"] * 8, *(row(machine, largest_kept(budget_of(machine))) for machine in MACHINES)]
    return "".join(f"| {' | '.join(each)} |\n" for each in rows)


def budget_of(machine: int) -> int:
    """Return the budget to name on a machine, in GB."""
    return int(machine * SHARE)


def largest_kept(budget: int) -> int:
    """Return the side of the largest square whose maps all stay in memory, on each of the devices."""
    fits, too_large = STEP, 1 << 15
    while too_large - fits > STEP:
        side = (fits + too_large) // 2 // STEP * STEP
        fits, too_large = (side, too_large) if is_kept(side, budget) else (fits, side)
    return fits


def is_kept(side: int, budget: int) -> bool:
    """Return whether a decode spills nothing and computes nothing again."""
    plans = [planned(side, budget, device) for device in DEVICES]
    return not any(each.spilled or each.extra_flops for each in plans)


def planned(side: int, budget: int, device: str) -> Plan:
    """Return the plan of a square picture by Z-Image's VAE, in bfloat16."""
    return plan("z-image", side, side, budget, device=device)


def row(machine: int, kept: int) -> list[str]:
    """Return the row of a machine whose largest kept picture has this side."""
    budget = budget_of(machine)
    large = [planned(LARGE, budget, device) for device in DEVICES]
    return [
        f"{machine} GB",
        f'`"{budget}GB"`',
        f"{kept}²",
        *(duration(planned(kept, budget, device).predicted_seconds) for device in DEVICES),
        *(duration(each.predicted_seconds) for each in large),
        f"{max(each.spilled for each in large) / 1e9:.0f} GB",
    ]


if __name__ == "__main__":
    main()
