"""Costs a plan from a file or from the caller anew on a device. The costs that it states are ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zvae_tiled.devices.base import Device
from zvae_tiled.errors import PlanError
from zvae_tiled.families import VAEConfig
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.layout import (
    Layout,
    Resident,
    check_grid,
    exact_layout,
    middle_media,
    resident_bytes,
    tile_grid,
    tiled_layout,
)
from zvae_tiled.planner.leg import Leg
from zvae_tiled.planner.make import check_case, check_storage, filled
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Tiles, Whole, kept_keys
from zvae_tiled.planner.stage import AGAIN, Stage, Sweep
from zvae_tiled.planner.storage import ANYWHERE, Storage
from zvae_tiled.planner.sweeps import Held, SweepCosts
from zvae_tiled.wording import at_least, size


def costed(plan: Plan, device: Device, weights: int | None = None, gathered: int = 0) -> Plan:
    """Return the plan with new predictions for a device.

    Args:
        plan: Its case, quality, tile and sweeps are used. Its predictions are ignored.
        device: The device.
        weights: Bytes of the loaded weights. Default: those of the case's Chain.
        gathered: Bytes of rows that the output file gathers.

    Raises:
        PlanError: The plan is invalid: its sweeps would not compute every row of every map once.
    """
    case, quality = plan.case, plan.quality
    check_case(case, quality, device)
    held = resident_bytes(case, weights, gathered)
    layout = _layout(plan, held, device)
    stages = {stage.name: stage for stage in plan.stages}
    names = [stage.name for stage in layout.stages]
    if sorted(stages) != sorted(names) or len(plan.stages) != len(names):
        raise PlanError(f"a plan of this quality has the stages {', '.join(names)}, this one has others", AGAIN)
    for stage in layout.stages:
        replace(stage, sweeps=stages[stage.name].sweeps).check(case.chain)
    check_storage(layout, quality, plan.storage)
    taller = replace(device, band_rows=_tallest(plan, device))

    def sweeps_of(costs: SweepCosts, stage: Stage) -> Sequence[Sweep]:
        return _costed_sweeps(costs, replace(stage, sweeps=stages[stage.name].sweeps))

    layout = _layout(plan, held, taller)
    costed_plan = filled(case, quality, plan.budget, layout, held, taller, sweeps_of, plan.storage)
    assert costed_plan is not None
    return replace(costed_plan, device=device)


def replayed(
    plan: Plan, case: Case, device: Device, weights: int, gathered: int = 0, storage: Storage = ANYWHERE
) -> Plan:
    """Return the plan as it will run here, if it was made for this decode or encode.

    Args:
        plan: The plan that the caller passed. It may be of any type.
        case: The decode or encode to run.
        device: The device that MLX uses, with its kernels.
        weights: Bytes of the loaded weights.
        gathered: Bytes of rows that the output file gathers.
        storage: Where its maps may be stored. Default: where the plan says.

    Raises:
        PlanError: `plan` is not a `Plan`, was made for another case, or does not fit its budget or the storage here.
    """
    if not isinstance(plan, Plan):
        raise PlanError(f"plan must be a Plan, it is {type(plan).__name__}", "Read one with zvae_tiled.read_plan.")
    _check_same(plan.case, case)
    own = plan.storage if storage == ANYWHERE else storage
    here = costed(replace(plan, case=case, storage=own), device, weights, gathered)
    _check_media(here, own)
    _check_buffers(here, device)
    if here.predicted_peak <= here.budget:
        return here
    counted = f"{size(here.weights)} of weights" + (
        f" and {size(here.gathered)} of finished rows" * bool(here.gathered)
    )
    how = "vae.plan(output=…) for these files" if here.gathered else "vae.plan()"
    less = " A VAE loaded with decoder_only=True needs less." if case.task == "decode" else ""
    raise PlanError(
        f"the plan needs {at_least(here.predicted_peak)} here, including {counted}; its budget is {size(here.budget)}",
        f"Make the plan on this machine, with {how} and the same ZVAE_KERNELS and ZVAE_THREADS, or with a larger "
        f"budget.{less}",
    )


def _check_media(plan: Plan, storage: Storage) -> None:
    if storage.work and any(sweep.medium == "ram" for sweep in plan.sweeps):
        raise PlanError(
            "the plan keeps maps in memory, and work= needs all of them on disk", "Make the plan with work=True."
        )
    if not storage.holds(plan.spilled):
        raise PlanError(
            f"the plan needs {plan.spilled:,} bytes on disk, disk_limit= is {storage.limit:,}",
            "Make the plan with this disk_limit=.",
        )


def _check_buffers(plan: Plan, device: Device) -> None:
    """Refuse bands whose maps are larger than any buffer of this Mac's. The planner keeps to half of that."""
    for stage in plan.stages:
        costs = SweepCosts(Costs(plan.case.chain, Size(stage.height, stage.width, plan.case.itemsize), device), 0, 0)
        for sweep in stage.sweeps:
            if sweep.rows > max(1, device.max_buffer // costs.largest(sweep.start, sweep.stop)):
                raise PlanError(
                    f"the plan's bands of {sweep.rows} rows need a larger buffer than this device makes, "
                    f"{size(device.max_buffer)}",
                    "Make the plan on this machine, or decode a smaller picture.",
                )


SIDES = ("height", "width")
"""Sides of a case: in latents in a plan, in pixels for its reader."""


def _check_same(theirs: Case, ours: Case) -> None:
    if theirs.task != ours.task:
        raise PlanError(
            f"the plan was made for the task {theirs.task}, this is the task {ours.task}", "Make a plan for this task."
        )
    for name in ("config", "batch", "height", "width", "dtype", "kind"):
        made_for, here = getattr(theirs, name), getattr(ours, name)
        if made_for != here:
            if isinstance(made_for, VAEConfig):
                made_for, here = made_for.different_from(here), "other values"
            if name in SIDES:
                made_for, here = (f"{case.pixels[SIDES.index(name)]:,}" for case in (theirs, ours))
            what = {"kind": "device", **{side: f"a {side} in pixels of" for side in SIDES}}.get(name, name)
            raise PlanError(
                f"the plan was made for {what} {made_for}, this {ours.task} has {here}",
                f"Make a plan for this {ours.task}.",
            )
    if theirs.output == "rows" and ours.output == "array":
        raise PlanError(
            'this plan was made with task="stream": it does not reserve memory for the finished picture',
            'Make it with task="decode".',
        )


def _layout(plan: Plan, held: Resident, device: Device) -> Layout:
    if isinstance(plan.quality, Whole):
        return exact_layout(plan.case, held, kept_keys(plan.quality, plan.case))
    scale, tile = plan.case.config.scale, plan.grid.tile
    grid = tile_grid(plan.case, plan.quality, tile)
    check_grid(grid, scale)
    named = plan.quality.latents("tile", scale) if isinstance(plan.quality, Tiles) else (grid.height, grid.width)
    if grid != plan.grid or tile != (named or tile):
        raise PlanError("the plan's tiles do not match its quality", AGAIN)
    keeps = plan.stages[0].keeps if plan.stages else None
    if keeps not in middle_media(plan.case, plan.quality):
        raise PlanError(f"the middle block's map cannot be kept in {keeps!r:.40}", AGAIN)
    return tiled_layout(plan.case, plan.quality, grid, keeps, held, device)


def _tallest(plan: Plan, device: Device) -> int:
    """Return the rows of the plan's tallest band or stored strip, in whole bands of the device.

    A plan that was made for this device has none above one band. Those of another device may be taller: then a map is
    freed in taller strips, and tiles are blended in taller bands.
    """
    chain, tallest = plan.case.chain, 1
    for sweep in plan.sweeps:
        if sweep.rows > 1:  # what grows from single rows, the planner counts as one band, too
            grown = sweep.rows if sweep.store is None else chain.rows_at(sweep.store, sweep.rows, sweep.start)
            tallest = max(tallest, sweep.rows, grown)
    return -(-tallest // device.band_rows) * device.band_rows


def _costed_sweeps(costs: SweepCosts, stage: Stage) -> list[Sweep]:
    sweeps, held = [], Held(stage.start, "ram" if stage.start == 0 else None)
    for sweep in stage.sweeps:
        leg = Leg(costs, held, sweep.stop, sweep.ends, sweep.store, sweep.medium)
        sweeps.append(leg.sweep(sweep.rows, sweep.anew))
        if sweep.ends == "keys":
            held = replace(held, keys=sweep.medium)
        elif sweep.store is not None:
            assert sweep.medium is not None
            passed = costs.costs.chain.attends(sweep.start, sweep.store)
            held = Held(sweep.store, sweep.medium, None if passed else held.keys)
    return sweeps
