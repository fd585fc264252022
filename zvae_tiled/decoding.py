"""What a decode needs around it: the memory there is, the allocator's limits, and where maps are spilled."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from zvae_tiled.budget import available_memory
from zvae_tiled.config import VAEConfig
from zvae_tiled.heap import Ceiling, make_room, under
from zvae_tiled.kernels.calibrate import calibrate as measure
from zvae_tiled.kernels.device import device_kind, working_set_limit
from zvae_tiled.model import DecoderOnly
from zvae_tiled.model.autoencoder import unscale_latents
from zvae_tiled.plan.calibration import Calibration
from zvae_tiled.plan.ends import PROCESS
from zvae_tiled.plan.plan import Plan
from zvae_tiled.plan.quality import QualityPlan

CACHE = 64 << 20
"""Freed buffers MLX may keep on a GPU, where the budget leaves room: enough for the workspace of a Step."""

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


def ceiling_of(plan: Plan | QualityPlan, held: int) -> Ceiling:
    """Return how far the process may grow; `held` bytes of what the plan predicts are there when it starts."""
    # Half of the process's own share is spent: by planning before, and by Python between two blocks.
    return Ceiling(plan.predicted_peak - held - PROCESS // 2)


@contextmanager
def limits(plan: Plan | QualityPlan, ceiling: Ceiling) -> Iterator[None]:
    """Keep freed memory inside what was planned, one decode at a time; put MLX's cache limit back afterwards."""
    with _ONE_AT_A_TIME, under(ceiling):
        before = mx.set_cache_limit(_cache_limit(plan))
        mx.clear_cache()
        try:
            yield
        finally:
            mx.set_cache_limit(before)
            mx.clear_cache()


def _cache_limit(plan: Plan | QualityPlan) -> int:
    # On a CPU none: no prediction counts what is kept, and the C library gives out memory as fast.
    return 0 if plan.device == "cpu" else max(0, min(CACHE, plan.budget - plan.predicted_peak))


def ready_latents(latents: mx.array, config: VAEConfig, dtype: mx.Dtype, scaled: bool) -> mx.array:
    """Return a picture's latents as the decoder reads them: neither scaled nor shifted, in the VAE's type."""
    one = (unscale_latents(latents, config) if scaled else latents).astype(dtype)
    mx.eval(one)
    return one


def finished(rows: mx.array, raw: bool) -> mx.array:
    """Turn the decoder's own values, about [-1, 1], into a picture's, unless raw ones are wanted."""
    make_room(2 * 4 * rows.size)
    if not raw:
        rows = mx.clip(rows.astype(mx.float32) * 0.5 + 0.5, 0.0, 1.0)
    mx.eval(rows)
    return rows


def norms(weights: Mapping[str, mx.array]) -> dict[str, np.ndarray]:
    """Return weights and biases of the norms."""
    return {
        name: np.asarray(array.astype(mx.float32)).astype(np.float64)
        for name, array in weights.items()
        if "norm" in name
    }
