"""Measures in a crop by how much a decoder amplifies an error behind its attention, before a decode of sampled keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from zvae_tiled.devices.base import Device
from zvae_tiled.devices.here import kernels_for
from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.engine.amplified import amplification
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.errors import BudgetError
from zvae_tiled.jobs.job import norms
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.ends import given_bytes
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


def amplified(plan: Plan, vae: VAE, device: Device, latents: mx.array, folder: Path) -> float | None:
    """Decode a crop twice, once with noise, in the memory that the plan predicts.

    Args:
        plan: The plan of the whole decode.
        vae: The VAE.
        device: The device.
        latents: The crop, ready for the first Step.
        folder: Folder for spilled maps.

    Returns:
        The RMS of the picture's error, of values in [0, 1], by that of the map as a share of the map. None if the crop
        does not fit into the memory.
    """
    case = replace(plan.case, height=latents.shape[1], width=latents.shape[2], batch=1, output="rows")
    room = plan.predicted_peak - plan.gathered - given_bytes(plan.case) + given_bytes(case) - _comparing(case)
    try:
        small = make_plan(
            case,
            Exact(),
            Budget(room, "the plan's own memory"),
            device,
            plan.weights,
            storage=replace(plan.storage, limit=plan.spilled),
        )
    except BudgetError:
        return None

    def decode(kernels: Kernels[Any]) -> Iterator[Any]:
        folded = norms(case.chain, vae.weights)
        return Run(case.chain, small.pixels, kernels, vae.weights, folded, SpillFile(folder)).rows(latents)

    return amplification(kernels_for(device, vae.dtype), decode)


def _comparing(case: Case) -> int:
    """Return the bytes of the crop's pixels, twice, and of noise on its map."""
    chain, config = case.chain, case.config
    assert chain.attention is not None, "keys are sampled"
    channels = config.scale**2 * config.out_channels * 2 + chain.steps[chain.attention].inputs * 4
    return 4 * case.height * case.width * channels
