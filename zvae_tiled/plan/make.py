"""Making a plan from a size and a budget: no weights, no MLX, milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zvae_tiled.budget import Budget
from zvae_tiled.chain import Task, chain_of
from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.plan.cost import Costs, Size
from zvae_tiled.plan.device import Device
from zvae_tiled.plan.ends import given_bytes, result_bytes, starting_bytes
from zvae_tiled.plan.plan import ITEMSIZES, WHOLE, Output, Plan, Stage, Sweep
from zvae_tiled.plan.search import fastest, leanest
from zvae_tiled.plan.sweeps import SweepCosts
from zvae_tiled.whole import whole


def make_plan(
    config: VAEConfig,
    height: int,
    width: int,
    budget: Budget,
    device: Device,
    dtype: str = "bfloat16",
    batch: int = 1,
    output: Output = "array",
    weights: int | None = None,
    gathered: int = 0,
    task: Task = "decode",
) -> Plan:
    """Return the fastest exact plan whose predicted peak fits the budget.

    Args:
        config: The VAE.
        height: Rows of the latents.
        width: Columns of the latents.
        budget: What the decode may use, weights included.
        device: The device.
        dtype: The VAE's type.
        batch: Latents in the batch.
        output: Whether what is finished is held in memory or handed on row by row.
        weights: Bytes of the weights as they are loaded; left out, those of the task.
        gathered: Bytes of finished rows that are gathered before they are handed on, as some kinds of file need it.
        task: ``decode`` or ``encode``.

    Raises:
        BudgetError: No exact plan fits; it names the smallest budget that works.
    """
    results = check_case(config, height, width, device, dtype, batch, output, task) or gathered
    own = chain_of(config, task).parameters * ITEMSIZES[dtype] if weights is None else weights
    held = own + given_bytes(config, task, height, width, batch)
    held += results if batch > 1 else 0  # of a batch, the first are finished when the last one starts
    last = 0 if batch > 1 else results
    plan = make_stage(config, height, width, budget, device, dtype, WHOLE, held, last, batch, output, task)
    return replace(plan, weights=own, gathered=results)


def make_stage(
    config: VAEConfig,
    height: int,
    width: int,
    budget: Budget,
    device: Device,
    dtype: str,
    stage: Stage,
    held: int,
    pictures: int = 0,
    batch: int = 1,
    output: Output = "rows",
    task: Task = "decode",
) -> Plan:
    """Return the fastest plan for a stage of a decode; see `make_plan`.

    Args:
        config: The VAE.
        height: Rows of the latents, or of the part of them the stage decodes.
        width: Columns likewise.
        budget: What all may use.
        device: The device.
        dtype: The VAE's type.
        stage: The stage.
        held: Bytes that others hold all along.
        pictures: Bytes of finished pictures, held in the last sweep.
        batch: Latents in the batch.
        output: Whether the finished pictures are held in memory or handed on.
        task: ``decode`` or ``encode``.
    """
    chain = chain_of(config, task)
    attention = next((cut for cut, step in enumerate(chain.steps) if step.kind == "attention"), None)
    steps = Costs(chain, Size(height, width, ITEMSIZES[dtype]), device)
    starting = starting_bytes(config, task, height, width, dtype)
    costs = SweepCosts(steps, held, pictures, attention, starting)
    sweeps = fastest(costs, budget.size, stage)
    if sweeps is None:
        can_stream = pictures and task == "decode"
        without = _peak(leanest(SweepCosts(steps, held, 0, attention, starting), stage)) if can_stream else None
        raise _too_small(leanest(costs, stage), without, config, height, width, budget)
    return Plan(
        config=config,
        height=height,
        width=width,
        batch=batch,
        dtype=dtype,
        device=device.name,
        output=output,
        budget=budget.size,
        sweeps=sweeps,
        base=held,
        predicted_peak=max((sweep.peak for sweep in sweeps), default=held),
        spilled=_most_on_disk(sweeps, costs),
        needed_flops=costs.needed_flops(stage),
        stage=stage,
        task=task,
    )


def check_case(
    config: VAEConfig, height: int, width: int, device: Device, dtype: str, batch: int, output: Output, task: Task
) -> int:
    """Return the bytes of what is finished, and held in memory: 0 if rows are handed on.

    Raises:
        PlanError: A size is none, or what is finished is more than one buffer may hold.
    """
    for name, count in (("height", height), ("width", width), ("batch", batch)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise PlanError(f"{name} must be a whole number above 0, it is {count!r}")
    for name, value, known in (("output", output, ("array", "rows")), ("task", task, ("decode", "encode"))):
        if value not in known:
            raise PlanError(f'{name} must be "{known[0]}" or "{known[1]}", it is {value!r}')
    results = batch * result_bytes(config, task, height, width, dtype) if output == "array" else 0
    if results > device.max_buffer:
        raise PlanError(
            f"what is finished takes {results:,} bytes, a buffer of this device at most {device.max_buffer:,}",
            "Let rows stream (vae.stream), write them to a file (vae.decode_to_file), or take fewer pictures at once.",
        )
    return results


def check_pixels(height: Any, width: Any, scale: int) -> tuple[int, int]:
    """Refuse sizes no latents decode to; return rows and columns of those that do.

    Raises:
        PlanError: Height or width is no multiple of the decoder's scale.
    """
    found = []
    for name, given in (("height", height), ("width", width)):
        pixels = whole(given)
        if pixels is None or pixels < 1 or pixels % scale:
            near = max(1, round((pixels or 0) / scale)) * scale
            raise PlanError(f"{name} must be a multiple of {scale} pixels, it is {given!r}", f"The nearest is {near}.")
        found.append(pixels // scale)
    return found[0], found[1]


def _most_on_disk(sweeps: tuple[Sweep, ...], costs: SweepCosts) -> int:
    steps, most, held, keys = costs.costs, 0, 0, 0
    for sweep in sweeps:
        fresh = 0
        if sweep.medium == "disk" and sweep.store is not None:
            fresh = steps.cut_bytes(sweep.store)
        elif sweep.medium == "disk":
            keys = steps.key_bytes(sweep.stop)
        most = max(most, held + keys + fresh)
        if sweep.store is not None:
            held = fresh
            keys = keys if sweep.ends == "keys" else 0
    return most


def _too_small(
    sweeps: tuple[Sweep, ...], without_pictures: int | None, config: VAEConfig, height: int, width: int, budget: Budget
) -> BudgetError:
    needed = _peak(sweeps)
    how = ", ".join(sorted({sweep.choice for sweep in sweeps if sweep.ends != "pixels"})) or "nothing stored"
    advice = f'Raise the budget to "{-(-needed // (1 << 20))}MiB"'
    if without_pictures is not None and without_pictures < needed:
        advice += f", or let rows stream (vae.stream, a .png or .npy file): {-(-without_pictures // (1 << 20))} MiB"
    return BudgetError(
        f"{width * config.scale}x{height * config.scale} exact needs at least {needed / (1 << 20):,.0f} MiB "
        f"({sweeps[0].rows}-row bands; {how}), the budget is {budget.size / (1 << 20):,.0f} MiB ({budget.source})",
        advice + ".",
        needed=needed,
    )


def _peak(sweeps: tuple[Sweep, ...]) -> int:
    return max(sweep.peak for sweep in sweeps)
