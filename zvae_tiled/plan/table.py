"""A plan as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zvae_tiled.plan.plan import Plan, Sweep


def render(plan: Plan) -> str:
    """Return the plan as text, a line a sweep."""
    scale = plan.config.scale
    full = sum(sweep.flops for sweep in plan.sweeps)
    lines = [
        f"{plan.batch} x {plan.width * scale}x{plan.height * scale} exact {plan.task}, {plan.dtype} on {plan.device}",
        f"budget {_mib(plan.budget)}, predicted peak {_mib(plan.predicted_peak)}, on disk {_mib(plan.spilled)}",
        f"{full / 1e12:,.2f} TFLOP a picture ({plan.extra_flops:+.0%} recomputed), "
        f"about {plan.predicted_seconds:,.0f} s, plan {plan.digest}",
        "",
        f"{'sweep':>7}  {'rows':>4}  {'ends in':<8}  {'stores':<14}  {'peak':>12}  "
        f"{'GFLOP':>9}  {'I/O':>12}  {'s':>7}  up to",
    ]
    return "\n".join(lines + [_line(plan, sweep) for sweep in plan.sweeps])


def _line(plan: Plan, sweep: Sweep) -> str:
    steps, end = plan.chain.steps, {"decode": "the picture", "encode": "the latents"}[plan.task]
    place = steps[sweep.stop].name if sweep.stop < len(steps) else end
    stores = "-"
    if sweep.ends == "keys":
        stores = f"{sweep.choice} keys"
    elif sweep.ends == "moments":
        stores = sweep.choice if sweep.store is None else f"{sweep.choice} cut {sweep.store}"
    return (
        f"{sweep.start:>3}-{sweep.stop:<3}  {sweep.rows:>4}  {sweep.ends:<8}  {stores:<14}  {_mib(sweep.peak):>12}  "
        f"{sweep.flops / 1e9:>9,.1f}  {_mib(sweep.io):>12}  {sweep.seconds:>7,.1f}  {place}"
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
