"""What holds a decode to its plan: one at a time, MLX's cache kept small, and a ceiling for the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx

from zvae_tiled.devices.calibrate import calibrate as measure
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.devices.heap import Ceiling, under
from zvae_tiled.planner.calibration import Calibration
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.plan import Plan

CACHE = 64 << 20
"""Freed buffers MLX may keep on a GPU, where the budget leaves room: enough for the workspace of a Step."""

_ONE_AT_A_TIME = threading.RLock()
"""Two decodes at once would need both their budgets."""


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
