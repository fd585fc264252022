"""Makes a plan from a case and a budget in milliseconds, without weights and without MLX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from zvae_tiled.devices.base import Device
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.ends import result_bytes, starting_bytes
from zvae_tiled.planner.layout import Layout, Resident, layouts, resident_bytes
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality
from zvae_tiled.planner.search import fastest, leanest
from zvae_tiled.planner.stage import Stage, Sweep
from zvae_tiled.planner.storage import ANYWHERE, Storage
from zvae_tiled.planner.sweeps import SweepCosts
from zvae_tiled.wording import at_least, budget_of, size

Choose = Callable[[SweepCosts, Stage], Sequence[Sweep] | None]
"""Chooses the sweeps of a stage; None if no sweeps will do."""


def make_plan(
    case: Case,
    quality: Quality,
    budget: Budget,
    device: Device,
    weights: int | None = None,
    gathered: int = 0,
    storage: Storage = ANYWHERE,
) -> Plan:
    """Return the fastest plan of a quality whose predicted peak fits the budget.

    Args:
        case: The decode or encode to plan.
        quality: The quality to plan for.
        budget: The bytes it may use, weights included.
        device: The device.
        weights: Bytes of the loaded weights. Default: those of the case's Chain.
        gathered: Bytes of finished rows that the output file's format needs in memory before it is written.
        storage: Where its maps may be stored.

    Raises:
        BudgetError: No plan fits. The error names the smallest budget that works, or the smallest disk limit.
        PlanError: The case is invalid, or cannot have this quality.
    """
    check_case(case, quality, device)
    held = resident_bytes(case, weights, gathered)
    most, lean = _once(_chooser(budget.size, storage)), _once(_leanest(storage))
    needed: list[tuple[int, Plan]] = []
    for layout in layouts(case, quality, held, device):
        check_storage(layout, quality, storage)
        plan = filled(case, quality, budget.size, layout, held, device, most, storage)
        if plan is not None and plan.predicted_peak <= budget.size:
            return plan
        smallest = filled(case, quality, budget.size, layout, held, device, lean, storage)
        if smallest is not None:
            needed.append((smallest.predicted_peak, smallest))
    if not needed:
        raise _too_little_disk(case, quality, held, device, storage)
    for_rows = _needed_for_rows(case, quality, device, weights, storage)
    raise _too_small(min(needed, key=lambda pair: pair[0])[1], budget, for_rows)


def check_case(case: Case, quality: Quality, device: Device) -> None:
    """Refuse a case that cannot be planned on this device.

    Raises:
        PlanError: A size or a name is invalid, or the finished picture is larger than one buffer of the device.
    """
    case.check()
    quality.check(case.config)
    if case.task != "decode" and not isinstance(quality, Exact):
        raise PlanError(
            f'quality="{quality.name}" is for task="decode", the task is "{case.task}"', "An encode is always exact."
        )
    if case.output == "array":
        check_buffer(result_bytes(case), device)


def check_storage(layout: Layout, quality: Quality, storage: Storage) -> None:
    """Refuse stages that could not go on after a crash: tiles, estimated moments, and sampled keys.

    Raises:
        PlanError: `storage.work` is set, and there are several stages or tiles, or keys are sampled.
    """
    several = len(layout.stages) > 1 or layout.grid.count > 1
    if storage.work and (several or layout.stages[0].sampled is not None):
        raise PlanError(
            f'a decode with quality="{quality.name}" cannot go on after a crash, and work= is set',
            'Leave out work=, or decode with quality="exact".',
        )


def check_buffer(size_of_pictures: int, device: Device) -> None:
    """Refuse pictures that are larger than one buffer of the device.

    Raises:
        PlanError: They are.
    """
    if size_of_pictures > device.max_buffer:
        raise PlanError(
            f"the finished picture needs {size(size_of_pictures)}; one buffer on this device holds at most "
            f"{size(device.max_buffer)}",
            "Stream the rows (vae.stream), write them to a file (vae.decode_to_file), or decode a smaller batch.",
        )


def filled(
    case: Case,
    quality: Quality,
    budget: int,
    layout: Layout,
    held: Resident,
    device: Device,
    choose: Choose,
    storage: Storage = ANYWHERE,
) -> Plan | None:
    """Return the plan whose stages have the sweeps that `choose` returns; None if it returns None for a stage."""
    stages = []
    for stage in layout.stages:
        costs = stage_costs(case, stage, device, storage.work)
        stage_sweeps = choose(costs, stage)
        if stage_sweeps is None:
            return None
        stages.append(replace(stage, sweeps=tuple(stage_sweeps), needed_flops=costs.needed_flops(stage)))
    peak = max(layout.reading, *(stage.peak for stage in stages))
    return Plan(
        case=replace(case, device=device.name),
        quality=quality,
        budget=budget,
        grid=layout.grid,
        factors=layout.factors,
        stages=tuple(stages),
        predicted_peak=peak,
        spilled=max(stage.spilled for stage in stages),
        weights=held.weights,
        gathered=held.gathered,
        storage=storage,
        device=device,
    )


def stage_costs(case: Case, stage: Stage, device: Device, saved: bool) -> SweepCosts:
    """Return the costs of the sweeps of a stage. `saved`: its maps are files of a work folder."""
    steps = Costs(case.chain, Size(stage.height, stage.width, case.itemsize), device, stage.sampled)
    starting = starting_bytes(case, stage.height, stage.width)
    return SweepCosts(steps, stage.base, stage.finished, starting, stage.kept, saved=saved)


def _chooser(budget: int, storage: Storage) -> Choose:
    def choose(costs: SweepCosts, stage: Stage) -> Sequence[Sweep] | None:
        return fastest(costs, budget, stage, storage)

    return choose


def _once(choose: Choose) -> Choose:
    """Cache `choose` by stage: the stages before ``pixels`` are the same for tiles of any size."""
    sweeps: dict[Stage, Sequence[Sweep] | None] = {}

    def cached(costs: SweepCosts, stage: Stage) -> Sequence[Sweep] | None:
        if stage not in sweeps:
            sweeps[stage] = choose(costs, stage)
        return sweeps[stage]

    return cached


def _leanest(storage: Storage, least: Literal["peak", "disk"] = "peak") -> Choose:
    def choose(costs: SweepCosts, stage: Stage) -> Sequence[Sweep] | None:
        return leanest(costs, stage, storage, least)

    return choose


def _needed_for_rows(case: Case, quality: Quality, device: Device, weights: int | None, storage: Storage) -> int | None:
    """Return the smallest budget if the decode streamed its rows; None if it does, for an encode, or without room."""
    if case.output == "rows" or case.task != "decode":
        return None
    streamed, lean = replace(case, output="rows"), _once(_leanest(storage))
    held = resident_bytes(streamed, weights, 0)
    plans = (
        filled(streamed, quality, 0, layout, held, device, lean, storage)
        for layout in layouts(streamed, quality, held, device)
    )
    return min((plan.predicted_peak for plan in plans if plan is not None), default=None)


def _too_small(leanest_plan: Plan, budget: Budget, for_rows: int | None) -> BudgetError:
    needed, (height, width) = leanest_plan.predicted_peak, leanest_plan.case.pixels
    sweeps = leanest_plan.sweeps
    how = ", ".join(sorted({sweep.choice for sweep in sweeps if sweep.ends != "pixels"})) or "nothing stored"
    advice = f'Raise the budget to "{budget_of(needed)}"'
    if for_rows is not None and for_rows < needed:
        advice += f", or stream the rows (vae.stream, or a .npy file) with {budget_of(for_rows)}"
    if leanest_plan.grid.count > 1:
        advice += ", or choose smaller tiles"
    if leanest_plan.storage.limit is not None:
        advice += ", or raise disk_limit="
    return BudgetError(
        f"{width}x{height} {leanest_plan.quality.name} needs at least {at_least(needed)} ({sweeps[0].rows}-row bands; "
        f"{how}), the budget is {size(budget.size)} ({budget.source})",
        advice + ".",
        needed=needed,
    )


def _too_little_disk(case: Case, quality: Quality, held: Resident, device: Device, storage: Storage) -> BudgetError:
    """Return the error of a disk limit that no plan keeps, however much memory it has."""
    unlimited = replace(storage, limit=None)
    choose = _once(_leanest(unlimited, "disk"))
    plans = (
        filled(case, quality, 0, layout, held, device, choose, unlimited)
        for layout in layouts(case, quality, held, device)
    )
    needed = min(plan.spilled for plan in plans if plan is not None)
    height, width = case.pixels
    return BudgetError(
        f"{width}x{height} with work= needs at least {at_least(needed)} on disk, "
        f"the limit is {size(storage.limit or 0)}",
        f'Raise disk_limit= to "{budget_of(needed)}", or leave out work=.',
    )
