"""The two functions most people need: `decode_tiled` and `plan`."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, overload

from zvae_tiled.budget import available_memory, parse_budget
from zvae_tiled.chain import Task
from zvae_tiled.config import VAEConfig
from zvae_tiled.default import default_vae
from zvae_tiled.errors import InputError, PlanError
from zvae_tiled.installed import installed, likely_device
from zvae_tiled.kernels.native import cpu_device
from zvae_tiled.plan.calibration import apply, newest
from zvae_tiled.plan.device import DEVICES, Device
from zvae_tiled.plan.make import check_pixels
from zvae_tiled.plan.plan import ITEMSIZES, Output, Plan
from zvae_tiled.plan.quality import QualityPlan, plan_task, request_of

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


def decode_tiled(
    latents: Any,
    budget_gb: float | None = None,
    *,
    vae: VAE | None = None,
    budget: str | float | None = None,
    **options: Any,
) -> Any:
    """Decode latents of any size inside a budget, to what a full decode gives unless another quality is named.

    Args:
        latents: As a pipeline hands them over: NCHW, NHWC with ``layout="NHWC"``, or packed FLUX tokens; mx, numpy,
            torch.
        budget_gb: The budget as a number of GB.
        vae: The VAE; left out, the one set with `set_default_vae`, else the one ``$ZVAE_VAE`` names, else that of
            a Z-Image or FLUX.1 model in the local Hugging Face cache.
        budget: The budget in any form: "6GB", "60%", … In place of ``budget_gb``.
        options: As in `VAE.decode`: ``layout``, ``height``, ``width``, ``output_type``, ``raw``, ``plan``,
            ``progress``, ``return_report``, ``spill_folder``, ``quality``, ``tile``, ``overlap``, ``ramp``,
            ``moments``.

    Returns:
        Pictures as float32 (B, H, W, 3) in [0, 1], or what ``output_type`` asks for.

    Raises:
        BudgetError: Nothing of the quality asked for fits the budget; nothing was started.
    """
    if budget_gb is not None and budget is not None:
        raise InputError("budget_gb= and budget= were both given", "Leave one of them out.")
    if isinstance(budget_gb, str):
        raise InputError(f"budget_gb must be a number of GB, it is {budget_gb!r}", f"Write budget={budget_gb!r}.")
    if vae is not None and not hasattr(vae, "decode"):
        raise InputError(f"vae must be a VAE, it is {vae!r}", "Load it first, once: VAE.load(path).")
    return (vae or default_vae()).decode(latents, budget=budget if budget_gb is None else budget_gb, **options)


@overload
def plan(
    vae: str | os.PathLike[str] | VAEConfig,
    height: int,
    width: int,
    budget: str | float | None = None,
    *,
    batch: int = 1,
    dtype: str = "bfloat16",
    device: str | None = None,
    output: Output = "array",
    task: Task = "decode",
    quality: Literal["exact"] = "exact",
) -> Plan: ...


@overload
def plan(
    vae: str | os.PathLike[str] | VAEConfig,
    height: int,
    width: int,
    budget: str | float | None = None,
    *,
    batch: int = 1,
    dtype: str = "bfloat16",
    device: str | None = None,
    output: Output = "array",
    task: Task = "decode",
    quality: str,
    tile: int | tuple[int, int] | None = None,
    overlap: int | tuple[int, int] | None = None,
    ramp: str | None = None,
    moments: str | None = None,
) -> Plan | QualityPlan: ...


def plan(
    vae: str | os.PathLike[str] | VAEConfig,
    height: int,
    width: int,
    budget: str | float | None = None,
    *,
    batch: int = 1,
    dtype: str = "bfloat16",
    device: str | None = None,
    output: Output = "array",
    task: Task = "decode",
    quality: str = "exact",
    tile: int | tuple[int, int] | None = None,
    overlap: int | tuple[int, int] | None = None,
    ramp: str | None = None,
    moments: str | None = None,
) -> Plan | QualityPlan:
    """Plan a decode, or an encode, from shapes alone: no weights, no GPU, no MLX.

    Args:
        vae: A preset's name, a ``config.json``, or a `VAEConfig`.
        height: The picture's height in pixels.
        width: The picture's width in pixels.
        budget: "8GB", "512MiB", a number of GB, "60%" of what is available now, or None for a safe share of it.
        batch: Pictures in the batch.
        dtype: ``bfloat16``, ``float32`` or ``float16``.
        device: ``cpu``, ``metal`` or ``cuda``; left out, what MLX would use here, as it was last calibrated.
        output: ``array`` if the finished pictures are held in memory, ``rows`` if they are handed on.
        task: ``decode`` or ``encode``.
        quality: As in `VAE.decode`, and so are ``tile``, ``overlap``, ``ramp`` and ``moments``.
        tile: As in `VAE.decode`.
        overlap: As in `VAE.decode`.
        ramp: As in `VAE.decode`.
        moments: As in `VAE.decode`.

    Returns:
        A `Plan` of an exact decode, a `QualityPlan` of any other; ``decode(latents, plan=…)`` replays either.

    Raises:
        BudgetError: Nothing of the quality asked for fits; it names the smallest budget that works.
    """
    config = VAEConfig.of(vae)
    rows, columns = check_pixels(height, width, config.scale)
    if device is not None and (not isinstance(device, str) or device not in DEVICES):
        raise PlanError(f"device must be one of {', '.join(DEVICES)}, it is {device!r}")
    if not isinstance(dtype, str) or dtype not in ITEMSIZES:
        raise PlanError(f"dtype must be one of {', '.join(ITEMSIZES)}, it is {dtype!r}")
    request = request_of(quality, tile, overlap, ramp, moments)
    limit = parse_budget(budget, available_memory())
    chosen = _this_device(dtype) if device is None else DEVICES[device]
    return plan_task(config, rows, columns, limit, chosen, dtype, batch, output, None, request, task=task)


def _this_device(dtype: str) -> Device:
    kind = likely_device()
    device = cpu_device(dtype == "bfloat16") if kind == "cpu" else DEVICES[kind]
    found = newest(kind, metadata.version("mlx")) if installed("mlx") else None
    return device if found is None else apply(device, found)
