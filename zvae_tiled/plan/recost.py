"""What a plan needs on another machine than it was made on, or with other kernels: its peak, costed again."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.plan.cost import Costs, Size
from zvae_tiled.plan.device import Device
from zvae_tiled.plan.ends import starting_bytes
from zvae_tiled.plan.plan import ITEMSIZES, Plan
from zvae_tiled.plan.quality_plan import QualityPlan
from zvae_tiled.plan.sweeps import Held, SweepCosts


def peak_here(plan: Plan | QualityPlan, device: Device) -> int:
    """Return the predicted peak of a plan with what this device's kernels allocate."""
    return max(_peak(stage, device) for stage in (plan.plans if isinstance(plan, QualityPlan) else (plan,)))


def _peak(plan: Plan, device: Device) -> int:
    chain, task = plan.chain, plan.task
    attention = next((cut for cut, step in enumerate(chain.steps) if step.kind == "attention"), None)
    last = plan.gathered if plan.batch == 1 else 0  # of a batch, what is finished is held all along
    starting = starting_bytes(plan.config, task, plan.height, plan.width, plan.dtype)
    steps = Costs(chain, Size(plan.height, plan.width, ITEMSIZES[plan.dtype]), device)
    costs = SweepCosts(steps, plan.base, last, attention, starting)
    most, held = plan.base, Held(plan.stage.start, "ram" if plan.stage.start == 0 else None)
    for sweep in plan.sweeps:
        fresh = costs.sweep(held, sweep.stop, sweep.ends, sweep.rows, sweep.store, sweep.medium)
        most = max(most, fresh.peak)
        if sweep.ends == "keys":
            held = replace(held, keys=sweep.medium)
        elif sweep.store is not None:
            held = Held(sweep.store, sweep.medium)
    return most
