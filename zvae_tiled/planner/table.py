"""Renders a plan as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zvae_tiled.wording import size

if TYPE_CHECKING:
    from zvae_tiled.planner.plan import Plan
    from zvae_tiled.planner.stage import Sweep


def render(plan: Plan) -> str:
    """Return the plan as text, with one line per sweep."""
    case, (height, width) = plan.case, plan.case.pixels
    lines = [
        f"{case.batch} x {width}x{height} {plan.quality.name} {case.task}, {case.dtype} on {case.device}",
        f"budget {size(plan.budget)}, predicted peak {size(plan.predicted_peak)}, on disk {size(plan.spilled)}",
        f"{plan.predicted_flops / 1e12:,.2f} TFLOP ({plan.extra_flops:+.0%} recomputed), "
        f"about {plan.predicted_seconds:,.0f} s, plan {plan.digest}",
    ]
    if plan.quality.name != "exact":
        lines.append(f"statistics: {plan.statistics}")
        lines.append(f"expected error: {plan.expected_error}")
    if plan.grid.count > 1:
        rows, columns = (side * case.config.scale for side in plan.grid.largest)
        lines.append(
            f"{len(plan.grid.rows)} x {len(plan.grid.columns)} tiles that read at most {columns}x{rows} pixels, "
            f"{plan.quality.ramp} ramp"
        )
    for stage in plan.stages:
        lines += ["", *([f"{stage.name}:"] if len(plan.stages) > 1 else []), HEAD]
        lines += [_line(plan, sweep) for sweep in stage.sweeps]
    return "\n".join(lines)


HEAD = (
    f"{'sweep':>7}  {'rows':>4}  {'ends in':<8}  {'stores':<14}  {'peak':>8}  {'GFLOP':>9}  {'I/O':>8}  {'s':>7}  up to"
)


def _line(plan: Plan, sweep: Sweep) -> str:
    steps, end = plan.case.chain.steps, {"decode": "the picture", "encode": "the latents"}[plan.case.task]
    place = steps[sweep.stop].name if sweep.stop < len(steps) else end
    stores = "-"
    if sweep.ends == "keys":
        stores = f"{sweep.choice} keys"
    elif sweep.ends == "moments":
        stores = sweep.choice if sweep.store is None else f"{sweep.choice} cut {sweep.store}"
    return (
        f"{sweep.start:>3}-{sweep.stop:<3}  {sweep.rows:>4}  {sweep.ends:<8}  {stores:<14}  {size(sweep.peak):>8}  "
        f"{sweep.flops / 1e9:>9,.1f}  {size(sweep.io) if sweep.io else '-':>8}  {sweep.seconds:>7,.1f}  {place}"
    )
