"""One decode from checked latents to a sink: the plan, the engine, the allocator's limits, and the report."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from zvae_tiled.config import VAEConfig
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill import check_free_space
from zvae_tiled.kernels.base import Kernels
from zvae_tiled.model import DecoderOnly
from zvae_tiled.plan.plan import Plan
from zvae_tiled.progress import Listener, Tracker

CACHE = 64 << 20
"""Freed buffers MLX may keep, where the budget leaves room: enough for the workspace of a Step."""

_ONE_AT_A_TIME = threading.RLock()
"""Two decodes at once would need both their budgets."""


def parameters(model: DecoderOnly) -> dict[str, mx.array]:
    """Return every parameter by its path."""
    return dict(tree_flatten(model.parameters()))


@contextmanager
def limits(plan: Plan) -> Iterator[None]:
    """Hold the allocator to the plan's budget, one decode at a time, and put everything back afterwards."""
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
    latents: mx.array,
    plan: Plan,
    spill_folder: Path | None,
    listener: Listener | None,
) -> Iterator[tuple[int, mx.array]]:
    """Yield the decoder's own rows with the number of their picture, top to bottom.

    Args:
        model: The weights.
        kernels: The device.
        latents: (B, h, w, channels), ready for the decoder, in the VAE's type.
        plan: The plan; it must be one for these latents.
        spill_folder: Where maps are spilled; left out, the system's folder for temporary files.
        listener: Told how far it is.
    """
    folder = spill_folder or Path(tempfile.gettempdir())
    check_free_space(folder, plan.spilled)
    weights = parameters(model)
    tracker = Tracker(plan, listener)
    for picture in range(plan.batch):
        run = Run(plan, kernels, weights, _norms(weights), folder, tracker.read)
        for rows in run.rows(latents[picture : picture + 1]):
            yield picture, rows
            del rows
        tracker.next_picture()
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
