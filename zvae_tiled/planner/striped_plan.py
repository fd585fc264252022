"""Plans a striped picture: how many rows a worker computes at a time, and what it needs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from zvae_tiled.devices.base import Device
from zvae_tiled.errors import BudgetError
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.grid import Grid
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.striped_room import stage_for
from zvae_tiled.planner.stripes import reads, split
from zvae_tiled.wording import at_least, budget_of, counted, size

MOST = 1024
"""The most stripes, and the most workers that are tried to name how many would do."""

LOOKED = 16
"""How many stripes are looked at to try a number of workers. The actual plan looks at all."""


@dataclass(frozen=True)
class StripedPlan:
    """How a picture is computed in stripes.

    Attributes:
        plan: The plan of a worker. Its stage has the height of the whole picture.
        stripes: Rows of the latents of each stripe, from top to bottom.
        reads: For each sweep, and each stripe, the rows that it reads.
    """

    plan: Plan
    stripes: tuple[Rows, ...]
    reads: tuple[tuple[Rows, ...], ...]


def striped_plan(
    case: Case, device: Device, workers: int, count: int, budget: int, weights: int, together: int = 1
) -> StripedPlan:
    """Return the plan of a picture in stripes.

    Args:
        case: The whole decode or encode.
        device: The device of the workers.
        workers: How many there are.
        count: How many stripes there are to be.
        budget: Bytes that each worker may use.
        weights: Bytes of the loaded weights.
        together: How many workers share the budget of a machine.

    Raises:
        BudgetError: It does not fit. The error says which budget a machine needs, and how many workers would do.
    """
    plan = _planned(case, device, workers, count, budget, weights)
    if plan.plan.predicted_peak <= budget:
        return plan

    def fits(more: int) -> bool:
        return stage_for(case, device, more, more, budget, weights, LOOKED)[1] <= budget

    needed, (height, width) = plan.plan.predicted_peak, case.pixels
    enough = _least(fits, workers, min(MOST, case.height))
    advice = f'Raise the budget to "{budget_of(needed * together)}"' + " for each machine" * (together < workers)
    advice += "." if enough is None else f", or use {enough} workers with {size(budget)} each."
    raise BudgetError(
        f"{width}x{height} in {counted(len(plan.stripes), 'stripe')} on {counted(workers, 'worker')} needs at least "
        f"{at_least(needed)} on each of them, the budget of each is {size(budget)}",
        advice,
        needed=needed * together,
    )


def _least(fits: Callable[[int], bool], low: int, most: int) -> int | None:
    """Return the least number above `low` that fits, by bisection; None if not even `most` does."""
    if low >= most or not fits(most):
        return None
    high = most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _planned(case: Case, device: Device, workers: int, count: int, budget: int, weights: int) -> StripedPlan:
    """Return the plan; its peak may be beyond the budget."""
    stage, peak = stage_for(case, device, workers, count, budget, weights, MOST)
    stripes, whole = split(case.height, count), (case.height, case.width)
    owned = -(-len(stripes) // workers)
    sweeps = tuple(
        replace(sweep, flops=sweep.flops * len(stripes), seconds=sweep.seconds * owned) for sweep in stage.sweeps
    )
    plan = Plan(
        case=replace(case, device=device.name),
        quality=Exact(),
        budget=budget,
        grid=Grid(*whole, whole),
        factors=(1, 1),
        stages=(replace(stage, sweeps=sweeps, needed_flops=stage.needed_flops * len(stripes)),),
        predicted_peak=peak,
        weights=weights,
        device=device,
    )
    return StripedPlan(plan, tuple(stripes), reads(device.workspace, case.chain, plan.pixels, stripes))
