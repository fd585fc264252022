"""Writes the table of sizes in ``docs/guides/big-pictures.md`` from plans alone: nothing is decoded.

``python -m docs.sizes_table`` replaces what stands between the markers; a test holds the two together. The devices are
those of `docs.budget_table`.
"""

from __future__ import annotations

from pathlib import Path

from docs.budget_table import DEVICES, END, plan_for_that_cpu, planned
from zvae_tiled.wording import duration, size

PAGE = Path(__file__).parent / "guides" / "big-pictures.md"
BEGIN = "<!-- from here on written by docs/sizes_table.py -->\n"
SIDES, BUDGET = (2048, 4096, 8192, 16384), 8


def main() -> None:
    """Write the page."""
    plan_for_that_cpu()
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(head + BEGIN + table() + END + rest.partition(END)[2])


def table() -> str:
    """Return one row a size, as Markdown."""
    names = ["picture", "2 CPU cores", "Mac (M1)", "attention, of the CPU's time", "disk"]
    rows = [names, ["---:"] * len(names), *map(_row, SIDES)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(side: int) -> list[str]:
    plans = [planned(side, BUDGET, device) for device in DEVICES]
    attending = plans[0].time_of(lambda sweep: sweep.attending) / plans[0].predicted_seconds
    spilled = max(each.spilled for each in plans)
    times = [duration(each.predicted_seconds) for each in plans]
    return [f"{side}²", *times, f"{100 * attending:.0f} %", size(spilled) if spilled else "–"]


if __name__ == "__main__":
    main()
