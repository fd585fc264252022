"""Sections on races between tools. A section depends only on the stored rows."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import store
from benchmarks.suites.peers import racers
from benchmarks.tables import (
    NOTHING,
    amount,
    budget,
    decibel,
    of_rows,
    seams,
    seconds,
    section,
    size,
    sizes,
    slower,
    small,
    times,
    where,
)
from zvae_tiled.report.figures import Row


def raced() -> list[Row]:
    """Return the rows of all races. Rows of a size are in the order in which the tools take turns."""
    rows = store.read("peers")
    order = {
        (pixels, case.label, case.dtype, f"{case.quality}, {case.budget}"): i
        for pixels in sizes(rows)
        for i, case in enumerate(racers(pixels, 1))
    }
    return sorted(
        rows, key=lambda row: (row.width, order.get((row.width, row.tool, row.dtype, row.quality), len(order)))
    )


def peers() -> str:
    """Return the section on every race, with one table per size."""
    rows = raced()
    parts = []
    for pixels in sizes(rows):
        race = [row for row in rows if row.width == pixels]
        parts += [f"### {pixels}²", race_table(race)]
    return "\n\n".join([*parts, where(rows)]) if rows else NOTHING


def race_table(race: Sequence[Row]) -> str:
    """Return the table of one race."""
    ours = next((row for row in race if row.tool == "zvae_tiled" and row.dtype == "bfloat16"), None)
    return of_rows(
        race,
        {
            "tool": _racer,
            "type": lambda row: row.dtype,
            "seconds (spread)": seconds,
            "time": lambda row: slower(row, ours),
            "process": lambda row: amount(row.footprint),
            "allocator": lambda row: amount(row.allocator_peak),
            "predicted": lambda row: amount(row.predicted_peak),
            "max error": lambda row: row.note or small(row.max_error),
            "PSNR": decibel,
            "seams, reference's": seams,
        },
    )


def reference() -> str:
    """Return the section on errors of float32 pictures against the float64 picture."""
    rows = store.read("reference")
    return section(
        rows,
        {
            "tool": lambda row: row.tool,
            "picture": size,
            "type": lambda row: row.dtype,
            "max error": lambda row: row.note or small(row.max_error),
            "PSNR": decibel,
        },
    )


def ends() -> str:
    """Return the section on which tools finish in the memory of a small machine."""
    rows = store.read("ends")
    return section(
        rows,
        {
            "tool": _racer,
            "picture": size,
            "type": lambda row: row.dtype,
            "memory limit": lambda row: amount(row.environment["limit"]),
            "outcome": lambda row: row.outcome,
            "process": lambda row: amount(row.footprint),
        },
    )


def _racer(row: Row) -> str:
    amount_or_name = budget(row)
    return row.tool if amount_or_name in ("ample", "least") else f"{row.tool}, {amount_or_name} budget"


def glance() -> str:
    """Return the first section: the largest race that every tool finished, in few columns."""
    rows = raced()
    unfinished = {row.width for row in rows if row.outcome != "ok" and not row.outcome.startswith("does not")}
    largest = max(set(sizes(rows)) - unfinished, default=0)
    race = [row for row in rows if row.width == largest and row.dtype == "bfloat16"]
    if not race:
        return NOTHING
    shown = of_rows(
        race,
        {
            f"{largest}², bfloat16": _racer,
            "seconds": lambda row: seconds(row).partition(" (")[0] if row.seconds else row.outcome,
            "memory of the process": lambda row: amount(row.footprint),
            "max error": lambda row: small(row.max_error),
            "PSNR": decibel,
            "seams, reference's": seams,
        },
    )
    first = race[0].environment
    return (
        f"{shown}\n\n{first['processor']}, {first['cores']} cores, {first['day']}. "
        "mflux is made for Metal, not for CPUs."
    )


def cpu() -> str:
    """Return the section that compares bands with diffusers' full decode."""
    rows = raced()
    whole = {(row.width, row.dtype): row for row in rows if row.tool == "diffusers, full" and row.outcome == "ok"}
    bands = [row for row in rows if row.tool == "zvae_tiled" and (row.width, row.dtype) in whole]
    shown = of_rows(
        bands,
        {
            "picture": size,
            "type": lambda row: row.dtype,
            "diffusers": lambda row: seconds(whole[row.width, row.dtype]),
            "diffusers' process": lambda row: amount(whole[row.width, row.dtype].footprint),
            "budget": budget,
            "zvae_tiled": seconds,
            "zvae_tiled's process": lambda row: amount(row.footprint),
            "time": lambda row: slower(row, whole[row.width, row.dtype]),
            "memory": lambda row: times(row.footprint, whole[row.width, row.dtype].footprint),
        },
    )
    return f"{shown}\n\n{where([*whole.values(), *bands])}" if bands else NOTHING
