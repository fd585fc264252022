"""How far a decode with a work folder has come: in words, and as a share of its work. No MLX."""

from __future__ import annotations

import json
from dataclasses import replace

from zvae_tiled.planner.files import parse
from zvae_tiled.planner.plan import Plan

Place = tuple[int, int, int]
"""The picture of the batch, its sweep, and the rows that the sweep has computed where it ends."""


def with_seconds(text: str) -> Plan:
    """Read a plan of this program, with the seconds that were predicted when it was made.

    Raises:
        PlanError: `text` is not a plan of this version.
    """
    plan = parse(text)
    stages = json.loads(text)["stages"]
    return replace(
        plan,
        stages=tuple(
            replace(
                stage,
                sweeps=tuple(
                    replace(sweep, seconds=float(known["seconds"]))
                    for sweep, known in zip(stage.sweeps, stages[stage.name]["sweeps"], strict=True)
                ),
            )
            for stage in plan.stages
        ),
    )


def reached(plan: Plan, place: Place) -> tuple[str, float]:
    """Return where a decode is, in words, and which share of its work is done. Empty and 0 at the beginning."""
    (picture, at, rows), (stage,), batch = place, plan.stages, plan.case.batch
    if place == (0, 0, 0):
        return "", 0.0
    if picture >= batch:
        return "behind the last row", 1.0
    sweep = stage.sweeps[at]
    height = plan.case.height * plan.case.chain.factors[sweep.stop]
    seconds = sum(each.seconds for each in stage.sweeps[:at]) + rows / height * sweep.seconds
    words = f"at row {rows:,} of {height:,}"
    if at < len(stage.sweeps) - 1:
        words = f"in sweep {at + 1} of {len(stage.sweeps)}, {words}"
    words += f" of picture {picture + 1} of {batch}" if batch > 1 else ""
    return words, (picture + seconds / sum(each.seconds for each in stage.sweeps)) / batch
