"""One decode from checked latents to a sink: the plan, the engine, the allocator's limits, and the report."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from zvae_tiled.budget import available_memory
from zvae_tiled.config import VAEConfig
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill import check_free_space
from zvae_tiled.kernels.base import Kernels
from zvae_tiled.kernels.calibrate import calibrate as measure
from zvae_tiled.kernels.device import device_kind, working_set_limit
from zvae_tiled.model import DecoderOnly
from zvae_tiled.plan.calibration import Calibration
from zvae_tiled.plan.plan import Plan
from zvae_tiled.plan.quality import QualityPlan
from zvae_tiled.progress import Listener, Tracker
from zvae_tiled.quality import QualityRun

CACHE = 64 << 20
"""Freed buffers MLX may keep, where the budget leaves room: enough for the workspace of a Step."""

_ONE_AT_A_TIME = threading.RLock()
"""Two decodes at once would need both their budgets."""


def parameters(model: DecoderOnly) -> dict[str, mx.array]:
    """Return every parameter by its path."""
    return dict(tree_flatten(model.parameters()))


def available(weights: int) -> int:
    """Return the bytes a decode could use now, its weights, which are loaded already, included."""
    free, limit = available_memory(), working_set_limit()
    if limit is not None:  # a GPU's own memory; on Metal it is the machine's too
        left = max(0, limit - mx.get_active_memory())
        free = min(free, left) if device_kind() == "metal" else left
    return free + weights


def calibrate(progress: Callable[[str], None] | None = None) -> Calibration:
    """Measure this device, and keep the figures for the planner: some 20 seconds, once.

    Memory of every kind of Step against its model, and the speed of convolutions, of memory and of the disk. The
    planner is never below what was measured.

    Args:
        progress: Told what is measured now.
    """
    with _ONE_AT_A_TIME:
        return measure(progress)


def temporary_folder() -> Path:
    """Return where maps are spilled: $TMPDIR, else /var/tmp, which unlike /tmp is nowhere kept in memory."""
    lasting = Path("/var/tmp")
    if "TMPDIR" not in os.environ and lasting.is_dir() and os.access(lasting, os.W_OK):
        return lasting
    return Path(tempfile.gettempdir())


@contextmanager
def limits(plan: Plan | QualityPlan) -> Iterator[None]:
    """Keep MLX's cache of freed buffers inside the plan's budget, one decode at a time; put it back afterwards."""
    with _ONE_AT_A_TIME:
        before = mx.set_cache_limit(max(0, min(CACHE, plan.budget - plan.predicted_peak)))
        mx.clear_cache()
        try:
            yield
        finally:
            mx.set_cache_limit(before)
            mx.clear_cache()


def decoded_rows(
    model: DecoderOnly,
    kernels: Kernels[mx.array],
    latents: Callable[[int], mx.array],
    plan: Plan | QualityPlan,
    spill_folder: Path | None,
    listener: Listener | None,
) -> Iterator[tuple[int, mx.array]]:
    """Yield the decoder's own rows with the number of their picture, top to bottom.

    Args:
        model: The weights.
        kernels: The device.
        latents: Gives those of a picture, (1, h, w, channels), ready for the decoder, in the VAE's type.
        plan: The plan; it must be one for these latents.
        spill_folder: Where maps are spilled; left out, `temporary_folder`.
        listener: Told how far it is.
    """
    folder = spill_folder or temporary_folder()
    check_free_space(folder, plan.spilled)
    weights = parameters(model)
    norms = _norms(weights)
    tracker = Tracker(plan, listener)
    for picture in range(plan.batch):
        if isinstance(plan, Plan):
            found = Run(plan, kernels, weights, norms, folder, partial(tracker.read, plan)).rows(latents(picture))
        else:
            found = QualityRun(plan, kernels, weights, norms, folder, tracker.read).rows(latents(picture))
        for rows in found:
            yield picture, rows
            del rows
    tracker.finish()


def finished(rows: mx.array, raw: bool) -> mx.array:
    """Turn the decoder's own values, about [-1, 1], into a picture's, unless raw ones are wanted."""
    if not raw:
        rows = mx.clip(rows.astype(mx.float32) * 0.5 + 0.5, 0.0, 1.0)
    mx.eval(rows)
    return rows


def picture_shape(config: VAEConfig, latents: mx.array) -> tuple[int, int, int, int]:
    """Return (B, H, W, C) of what these latents decode to."""
    batch, height, width, _ = latents.shape
    return batch, height * config.scale, width * config.scale, config.out_channels


def _norms(weights: Mapping[str, mx.array]) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(array.astype(mx.float32)).astype(np.float64)
        for name, array in weights.items()
        if "norm" in name and name.startswith("decoder.")
    }
