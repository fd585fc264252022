"""The two functions most people need: `decode_tiled` and `plan`."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from zvae_tiled.checks import whole
from zvae_tiled.default import default_vae
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.installed import installed
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.devices.table import DEVICES, likely_device
from zvae_tiled.errors import InputError
from zvae_tiled.families import VAEConfig, config_of
from zvae_tiled.planner import files
from zvae_tiled.planner.budget import available_memory, parse_budget
from zvae_tiled.planner.calibration import apply, newest
from zvae_tiled.planner.case import ITEMSIZES, Case, Output, one_of, rows_and_columns
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality, quality_of
from zvae_tiled.planner.replay import costed

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
        latents: As a pipeline hands them over, NCHW, of mx, numpy or torch; or `Latents`, for NHWC or packed tokens.
        budget_gb: The budget as a number of GB.
        vae: The VAE. Default: the one set with `set_default_vae`, else the one ``$ZVAE_VAE`` names, else that of
            a Z-Image or FLUX.1 model in the local Hugging Face cache.
        budget: The budget in any form: "6GB", "60%", … In place of ``budget_gb``.
        options: As in `VAE.decode`: ``output_type``, ``raw``, ``plan``, ``quality``, ``progress``, ``return_report``,
            ``spill_folder``.

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


DEVICE_NAMES = ("cpu", *DEVICES)
"""Devices a plan can be made for."""

PlannedTask = Literal["decode", "stream", "encode"]
"""What a plan can be for; ``stream`` is a decode whose rows are handed on, or written to a file."""


def plan(
    vae: str | os.PathLike[str] | VAEConfig,
    height: int,
    width: int,
    budget: str | float | None = None,
    *,
    batch: int = 1,
    dtype: str = "bfloat16",
    device: str | None = None,
    task: PlannedTask = "decode",
    quality: str | Quality = "exact",
) -> Plan:
    """Plan a decode, or an encode, from shapes alone: no weights, no GPU, no MLX.

    Args:
        vae: A preset's name, a ``config.json``, or a `VAEConfig`.
        height: The picture's height in pixels.
        width: The picture's width in pixels.
        budget: "8GB", "500MB", a number of GB, "60%" of what is available now, or None for a safe share of it.
        batch: Pictures in the batch.
        dtype: ``bfloat16``, ``float32`` or ``float16``.
        device: ``cpu``: this CPU, with the kernels that compute on it; ``cpu/mlx``: a CPU with MLX alone; ``metal`` or
            ``cuda``. Default: what MLX uses here, as it was last calibrated.
        task: ``decode`` if the finished pictures are held in memory; ``stream`` if their rows are handed on, or written
            to a file; ``encode``.
        quality: ``exact``, ``tiles`` or ``stream``, or `Tiles` with a tile, an overlap, a ramp, moments.

    Returns:
        The plan, which ``vae.decode(latents, plan=…)`` replays.

    Raises:
        BudgetError: Nothing of this quality fits; it names the smallest budget that works.
    """
    config = config_of(vae)
    rows, columns = rows_and_columns(height, width, config)
    one_of("dtype", dtype, tuple(ITEMSIZES))
    chosen = _this_device(dtype) if device is None else _named_device(device, dtype)
    case = planned_case(config, rows, columns, chosen.name, dtype, batch, task)
    return make_plan(case, quality_of(quality), parse_budget(budget, available_memory()), chosen)


def planned_case(
    config: VAEConfig, rows: int, columns: int, device: str, dtype: str, batch: int, task: PlannedTask
) -> Case:
    """Return the case of a task, as people name it.

    Raises:
        PlanError: There is no such task, or no such size.
    """
    one_of("task", task, ("decode", "stream", "encode"))
    number = whole(batch)
    output: Output = "rows" if task == "stream" else "array"
    count = batch if number is None else number
    return Case(config, rows, columns, device, dtype, count, output, "encode" if task == "encode" else "decode")


def read_plan(text: str) -> Plan:
    """Read a plan back, as its ``to_json`` wrote it; what it costs is predicted anew, for this machine.

    Raises:
        PlanError: The text is no plan of this version.
    """
    read = files.parse(text)
    return costed(read, _device_of(read.case))


def _device_of(case: Case) -> Device:
    """Return this machine's device, as it was calibrated, if the case is for its kind; else the one that is named."""
    here = _this_device(case.dtype)
    if case.device == here.name or (case.kind == here.kind and case.device not in DEVICES):
        return here
    return _named_device(case.device if case.device in DEVICES else case.kind, case.dtype)


def _named_device(name: str, dtype: str) -> Device:
    one_of("device", name, DEVICE_NAMES)
    return cpu_device(dtype == "bfloat16") if name == "cpu" else DEVICES[name]


def _this_device(dtype: str) -> Device:
    kind = likely_device()
    device = _named_device(kind, dtype)
    found = newest(kind, metadata.version("mlx")) if installed("mlx") else None
    return device if found is None else apply(device, found)
