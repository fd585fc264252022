"""What a decode needs around it: the memory there is, the allocator's limits, and where maps are spilled."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Chain
from zvae_tiled.devices.calibrate import calibrate as measure
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.devices.heap import Ceiling, make_room, under
from zvae_tiled.devices.here import device_kind, working_set_limit
from zvae_tiled.families import VAEConfig
from zvae_tiled.latent_space import unpacked, unscale_latents
from zvae_tiled.planner.budget import Available, available_memory
from zvae_tiled.planner.calibration import Calibration
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.plan import Plan

CACHE = 64 << 20
"""Freed buffers MLX may keep on a GPU, where the budget leaves room: enough for the workspace of a Step."""

_ONE_AT_A_TIME = threading.RLock()
"""Two decodes at once would need both their budgets."""


def available(weights: int) -> Available:
    """Return what a decode could use now, its weights, which are loaded already, included."""
    memory, limit = available_memory(), working_set_limit()
    if limit is not None:  # a GPU's own memory; on Metal it is the machine's too
        left = Available(max(0, limit - mx.get_active_memory()))
        memory = left if device_kind() != "metal" or left.size < memory.size else memory
    return replace(memory, size=memory.size + weights)


def calibrate(progress: Callable[[str], None] | None = None) -> Calibration:
    """Measure this device, and keep the figures for the planner: some 20 seconds, once.

    Memory of every kind of Step against its model, and the speed of convolutions, of memory and of the disk. The
    planner is never below what was measured.

    Args:
        progress: Told what is measured now.
    """
    check_threads()
    with _ONE_AT_A_TIME:
        return measure(progress)


def temporary_folder() -> Path:
    """Return where maps are spilled: $TMPDIR, else /var/tmp, which unlike /tmp is nowhere kept in memory."""
    lasting = Path("/var/tmp")
    if "TMPDIR" not in os.environ and lasting.is_dir() and os.access(lasting, os.W_OK):
        return lasting
    return Path(tempfile.gettempdir())


def ceiling_of(plan: Plan, held: int) -> Ceiling:
    """Return how far the process may grow; `held` bytes of what the plan predicts are there when it starts."""
    # Half of the process's own share is spent: by planning before, and by Python between two blocks.
    return Ceiling(plan.predicted_peak - held - PROCESS // 2)


@contextmanager
def limits(plan: Plan, ceiling: Ceiling) -> Iterator[None]:
    """Keep freed memory inside what was planned, one decode at a time; put MLX's cache limit back afterwards."""
    check_threads()  # here too: a stream may be read on in a forked process
    with _ONE_AT_A_TIME:
        before = mx.set_cache_limit(_cache_limit(plan))
        mx.clear_cache()  # before the ceiling counts
        try:
            with under(ceiling):
                yield
        finally:
            mx.set_cache_limit(before)
            mx.clear_cache()


def _cache_limit(plan: Plan) -> int:
    # On a CPU none: no prediction counts what is kept, and the C library gives out memory as fast.
    return 0 if plan.case.kind == "cpu" else max(0, min(CACHE, plan.budget - plan.predicted_peak))


def ready_latents(
    latents: mx.array, config: VAEConfig, weights: Mapping[str, mx.array], dtype: mx.Dtype, scaled: bool
) -> mx.array:
    """Return a picture's latents as the decoder reads them: unpacked, neither scaled nor shifted, in the VAE's type."""
    convention = config.latents
    ready = unscale_latents(latents, convention, weights) if scaled else unpacked(latents, convention.patch)
    make_room(ready.size * dtype.size)
    ready = ready.astype(dtype)
    mx.eval(ready)
    return ready


def finished(rows: mx.array, raw: bool) -> mx.array:
    """Turn the decoder's own values, about [-1, 1], into a picture's, unless raw ones are wanted."""
    make_room(2 * 4 * rows.size)
    if not raw:
        rows = mx.clip(rows.astype(mx.float32) * 0.5 + 0.5, 0.0, 1.0)
    mx.eval(rows)
    return rows


def norms(chain: Chain, weights: Mapping[str, mx.array]) -> dict[str, np.ndarray]:
    """Return weights and biases of the Chain's norms."""
    names = [f"{step.norm.name}.{part}" for step in chain.steps if step.norm for part in ("weight", "bias")]
    return {name: np.asarray(weights[name].astype(mx.float32)).astype(np.float64) for name in names}
