"""Describes a plan to people, in at most ten lines of 80 columns: what it does and costs, and what costs less."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zvae_tiled.files.temporary import free_space, temporary_folder
from zvae_tiled.planner.cheaper import cheaper, fewer_keys, without_work
from zvae_tiled.planner.quality import Whole
from zvae_tiled.wording import SAME, counted, duration, operations, size

if TYPE_CHECKING:
    from zvae_tiled.planner.plan import Plan

LINE = 69
"""The most characters behind a name."""

LEAST = 0.005
"""Parts of less than this share of the time are left out."""

FOLDER = 30
"""The most characters of a folder's name. The end of a longer one is shown."""


def summary(plan: Plan, spill_folder: Path | None = None) -> str:
    """Return the plan as a few lines of text, each with a name in front.

    Args:
        plan: The plan.
        spill_folder: The folder for maps on disk, whose free space is shown. Default: that for temporary files.
    """
    folder = spill_folder or temporary_folder()
    case, (height, width) = plan.case, plan.case.pixels
    done = "encodes" if case.task == "encode" else "decodes"
    lines = [f"{done:<11}{case.batch} x {width}x{height}, {case.dtype} on {case.device}", *_quality(plan)]
    lines.append(f"memory     {size(plan.predicted_peak)} of the budget of {size(plan.budget)}")
    lines.append(f"disk       {_disk(plan, folder)}")
    lines.append(f"time       {_time(plan)}")
    lines += _work(plan)
    lines += [f"{name:<11}{text}" for name, text in zip(("cheaper", "or"), cheaper(plan, folder), strict=False)]
    lines += [f"attention  {text}" for text in fewer_keys(plan)]
    sweeps = counted(plan.sweep_count, "sweep")
    work = f"{operations(plan.predicted_flops)}, {100 * plan.extra_flops:.0f} % more than needed"
    return "\n".join([*lines, f"plan       {plan.digest}: {sweeps}, {work}"])


def _quality(plan: Plan) -> list[str]:
    if isinstance(plan.quality, Whole) and plan.exact:
        same = SAME["encode" if plan.case.task == "encode" else "decode"]
        return [f"quality    {plan.quality.name}: {same}"]
    tiles = ""
    if plan.grid.count > 1:
        rows, columns = (side * plan.case.config.scale for side in plan.grid.largest)
        down, across = len(plan.grid.rows), len(plan.grid.columns)
        tiles = f": {down} x {across} of at most {columns}x{rows} pixels, {plan.quality.ramp} ramp"
    return [
        f"quality    {plan.quality.name}{tiles}",
        f"statistics {plan.statistics}",
        f"expected   {plan.expected_error}",
    ]


def _disk(plan: Plan, spill_folder: Path) -> str:
    if not plan.spilled:
        return "nothing is spilled"
    free, folder = free_space(spill_folder), str(spill_folder)
    place = folder if len(folder) <= FOLDER else f"…{folder[1 - FOLDER :]}"
    return f"{size(plan.spilled)} needed, {size(free)} free in {place}" + (
        ": too little" if free < plan.spilled else ""
    )


def _work(plan: Plan) -> list[str]:
    """Return what it costs that every map is on disk."""
    if not plan.storage.work:
        return []
    usual = without_work(plan)
    beside = "" if usual is None else f"; without: {duration(usual.predicted_seconds)}, {size(usual.spilled)}"
    return [f"work       all maps on disk, to go on after a crash{beside}"]


def _time(plan: Plan) -> str:
    """Return the time, and as many of its parts as the line holds, the largest first."""
    total = plan.predicted_seconds
    text = f"{duration(total)} if idle"
    if not total:
        return text
    parts = {"attention": plan.time_of(lambda sweep: sweep.attending), "disk": plan.time_of(lambda s: s.spilling)}
    parts["convolutions and norms" if plan.case.chain.barriers else "convolutions"] = total - sum(parts.values())
    shares = sorted(((seconds / total, name) for name, seconds in parts.items()), reverse=True)
    for place, (share, name) in enumerate(shares):
        longer = f"{text}{', ' if place else ': '}{name} {100 * share:.0f} %"
        if share < LEAST or len(longer) > LINE:
            break
        text = longer
    return text
