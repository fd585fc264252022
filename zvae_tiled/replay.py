"""A plan replayed: checked against the decode, or encode, it is to be used for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zvae_tiled.chain import Task
from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import PlanError
from zvae_tiled.plan.device import Device
from zvae_tiled.plan.plan import AGAIN, WHOLE, Output, Plan
from zvae_tiled.plan.quality_plan import QualityPlan
from zvae_tiled.plan.recost import peak_here


def replayed(
    plan: Plan | QualityPlan,
    config: VAEConfig,
    shape: Sequence[int],
    dtype: str,
    device: Device,
    output: Output,
    weights: int,
    gathered: int = 0,
    task: Task = "decode",
) -> Plan | QualityPlan:
    """Return the plan with the weights that are there, if it is one for this decode.

    Args:
        plan: What was given as a plan.
        config: The VAE.
        shape: Batch, rows and columns of the latents.
        dtype: The VAE's type.
        device: What MLX computes on, with the kernels that compute.
        output: Whether the finished pictures are held in memory or handed on.
        weights: Bytes of the weights that are loaded.
        gathered: Bytes of finished rows that the file gathers.
        task: What is to be done.

    Raises:
        PlanError: It is for something else, or no plan.
    """
    if not isinstance(plan, Plan | QualityPlan):
        problem = f"plan must be a plan, it is {type(plan).__name__}"
        raise PlanError(problem, "Read one with zvae_tiled.read_plan.")
    if isinstance(plan, Plan) and plan.stage != WHOLE:
        raise PlanError(f"the plan is for a stage of the {task}, not for the whole", AGAIN)
    plan.check()
    if plan.task != task:
        raise PlanError(f'the plan is one for task="{plan.task}", this is task="{task}"', "Make a plan for it.")
    made_for = (plan.config, plan.batch, plan.height, plan.width, plan.dtype, plan.device)
    here = (config, *shape, dtype, device.name)
    names = ("config", "batch", "height", "width", "dtype", "device")
    for what, theirs, ours in zip(names, made_for, here, strict=True):
        if theirs != ours:
            if isinstance(theirs, VAEConfig) and isinstance(ours, VAEConfig):
                theirs, ours = theirs.different_from(ours), "other values"
            raise PlanError(f"the plan was made for {what} {theirs}, this {task} has {ours}", "Make a plan for it.")
    if plan.output == "rows" and output == "array":
        raise PlanError("the plan has no room in memory for what is finished", 'Make it with output="array".')
    needed = peak_here(plan, device)
    if needed > plan.budget:
        raise PlanError(
            f"with the kernels that compute here the plan needs {needed:,} bytes, its budget is {plan.budget:,}",
            "Make the plan on this machine, with the same ZVAE_KERNELS and ZVAE_THREADS.",
        )
    plan = replace(plan, predicted_peak=max(plan.predicted_peak, needed))
    # plan() without a VAE counts the decoder's weights alone, or the encoder's.
    surplus = max(0, weights - plan.weights)
    if surplus and plan.predicted_peak + surplus > plan.budget:
        raise PlanError(
            f"the plan does not count {surplus:,} bytes of the weights that are loaded, "
            "and its budget has no room for them",
            "Make the plan with vae.plan()"
            + (", or load the VAE with decoder_only=True." if task == "decode" else "."),
        )
    rows = max(0, gathered - plan.gathered)
    if rows and plan.predicted_peak + surplus + rows > plan.budget:
        raise PlanError(
            f"the plan does not count {rows:,} bytes of rows that this kind of file gathers, "
            "and its budget has no room for them",
            "Write a .png or a .npy, or decode with budget= and replay the report's plan.",
        )
    return plan.holding(surplus, rows)
