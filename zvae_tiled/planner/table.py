"""The sweeps of a plan as a table, in at most 110 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zvae_tiled.wording import duration, operations, size

if TYPE_CHECKING:
    from zvae_tiled.planner.plan import Plan
    from zvae_tiled.planner.stage import Sweep

HEAD = (
    f"{'sweep':>7}  {'rows':>4}  {'ends in':<7}  {'stores':<12}  "
    f"{'memory':>7}  {'work':>11}  {'disk':>7}  {'time':>7}  up to"
)

PLACE = 30
"""The most characters of a place. The end of a longer name is shown."""


def table(plan: Plan) -> str:
    """Return one line for each sweep, stage by stage."""
    lines: list[str] = []
    for stage in plan.stages:
        if len(plan.stages) > 1:
            tiles = f" (of the largest of {plan.grid.count:,} tiles)" if stage is plan.pixels else ""
            lines += [*([""] if lines else []), f"{stage.name}{tiles}:"]
        lines += [HEAD, *(_line(plan, sweep) for sweep in stage.sweeps)]
    return "\n".join(lines)


def _line(plan: Plan, sweep: Sweep) -> str:
    steps, end = plan.case.chain.steps, {"decode": "the picture", "encode": "the latents"}[plan.case.task]
    place = steps[sweep.stop].name.removeprefix(f"{plan.case.task}r.") if sweep.stop < len(steps) else end
    stores = "-"
    if sweep.ends == "keys":
        stores = f"{sweep.choice} keys"
    elif sweep.ends == "moments":
        stores = sweep.choice if sweep.store is None else f"{sweep.choice} cut {sweep.store}"
    return (
        f"{sweep.start:>3}-{sweep.stop:<3}  {sweep.rows:>4}  {sweep.ends:<7}  {stores:<12}  {size(sweep.peak):>7}  "
        f"{operations(sweep.flops):>11}  {size(sweep.io) if sweep.io else '-':>7}  {duration(sweep.seconds):>7}  "
        f"{place[-PLACE:]}"
    )
