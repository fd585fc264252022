"""Plans from shapes alone: what `zvae_tiled.plan` and `zvae plan` do, and whose shapes they are."""

from __future__ import annotations

import os
from pathlib import Path

from zvae_tiled.checks import one_of, truth
from zvae_tiled.devices.named import named_device, unprobed_device
from zvae_tiled.families import PRESETS, VAEConfig, config_of
from zvae_tiled.jobs.writers import FileNames, gathered_for
from zvae_tiled.planner.budget import available_memory, parse_budget
from zvae_tiled.planner.case import ITEMSIZES, PlannedTask, planned_case, rows_and_columns
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality, quality_of
from zvae_tiled.planner.remembered import remembered_plan
from zvae_tiled.planner.storage import Storage, disk_limit_of


def config_named(name: str | os.PathLike[str]) -> VAEConfig:
    """Return a preset, what a config.json describes, or the config of a VAE that `VAE.load` finds. No weights are read.

    Raises:
        ConfigError: It describes no VAE known here, or no preset has the names and shapes of the weights.
        WeightsError: There is no such VAE.
    """
    text = os.fspath(name)
    if text == "" or is_config(text) or (isinstance(name, str) and text in PRESETS):
        return config_of(text)
    from zvae_tiled.weights.find import find_checkpoint
    from zvae_tiled.weights.hub import located
    from zvae_tiled.weights.recognise import chosen_config

    return chosen_config(None, find_checkpoint(located(Path(name))))


def is_config(name: str) -> bool:
    """Return whether a name is that of a config, and not of the index of weights in several files."""
    return name.endswith(".json") and ".index." not in os.path.basename(name)


def plan_from_shapes(
    config: VAEConfig,
    height: int,
    width: int,
    budget: str | float | None,
    *,
    batch: int,
    dtype: str,
    device: str | None,
    task: PlannedTask,
    quality: str | Quality,
    disk_limit: str | float | None,
    work: bool,
    output: FileNames | None = None,
    bits: int | None = None,
) -> Plan:
    """Plan a decode or an encode. The arguments are those of `zvae_tiled.plan`, and one more.

    Args:
        config: The VAE.
        height: The picture's height in pixels.
        width: The picture's width in pixels.
        budget: Memory it may use.
        batch: Number of pictures in the batch.
        dtype: The type of the weights.
        device: The device's name. Default: the device that MLX uses here.
        task: What is planned.
        quality: A quality, or its name.
        disk_limit: The most bytes on disk.
        work: Whether all maps are stored on disk.
        output: The files that a ``stream`` is written to, as in `gathered_for`. To count their writers imports MLX.
        bits: Bits of a channel in these files.

    Raises:
        BudgetError: No plan of this quality fits. The error names the smallest budget that works.
    """
    rows, columns = rows_and_columns(height, width, config)
    one_of("dtype", dtype, tuple(ITEMSIZES))
    target = unprobed_device(dtype) if device is None else named_device(device, dtype)
    case = planned_case(config, rows, columns, target.name, dtype, batch, task)
    size, storage = parse_budget(budget, available_memory()), Storage(disk_limit_of(disk_limit), truth("work", work))
    gathered = gathered_for(output, bits, case)
    return remembered_plan(case, quality_of(quality), size, target, gathered=gathered, storage=storage)
