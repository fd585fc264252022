"""Keeps a decode within its plan: one decode at a time, a small MLX cache, and a ceiling for the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx

from zvae_tiled.checks import shown, truth
from zvae_tiled.devices.calibrate import calibrate as measure
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.devices.heap import Ceiling, under
from zvae_tiled.errors import InputError
from zvae_tiled.planner.calibration import Calibration
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.video import VideoPlan

CACHE = 1 << 30
"""The most bytes of freed buffers that MLX keeps on a GPU, if the budget allows it: the workspace of a Step."""

_ONE_AT_A_TIME = threading.RLock()
"""Held while a decode runs. Two decodes at once would need the sum of their budgets."""


def calibrate(progress: Callable[[str], None] | None = None, replace: bool = False) -> Calibration:
    """Measure this device, and store the figures for the planner. It takes about 40 seconds.

    It compares the memory of every kind of Step with its prediction, and measures the speed of convolutions, of memory
    and of the disk. The planner's predictions of memory are never below the measurements. On a CPU it also times every
    path of kernels, and returns those that were faster than the chosen ones (`Calibration.proposals`). It chooses none.

    Args:
        progress: Called with a line of text before each measurement. At the end it is called again if other programs
            computed meanwhile, and for each stored speed that is kept because the new one is lower.
        replace: Whether a stored speed is replaced by a lower one.

    Returns:
        The figures that are stored now.
    """
    check_threads()
    if progress is not None and not callable(progress):
        raise InputError(f"progress must be a function that takes a line of text, it is {shown(progress)}")
    with _ONE_AT_A_TIME:
        return measure(progress, truth("replace", replace))


def ceiling_of(plan: Plan | VideoPlan, held: int) -> Ceiling:
    """Return how far the process may grow. `held` bytes of the predicted peak are allocated before the start."""
    # Half of PROCESS is used already: by planning before the run, and by Python between two blocks.
    return Ceiling(plan.predicted_peak - held - PROCESS // 2)


@contextmanager
def limits(plan: Plan | VideoPlan, ceiling: Ceiling) -> Iterator[None]:
    """Run one decode at a time, within its planned memory. MLX's cache limit is restored afterwards."""
    check_threads()  # here too, because a forked process may go on reading a stream
    with _ONE_AT_A_TIME:
        before = mx.set_cache_limit(_cache_limit(plan))
        mx.clear_cache()  # before the ceiling measures the process
        try:
            with under(ceiling):
                yield
        finally:
            mx.set_cache_limit(before)
            mx.clear_cache()


def _cache_limit(plan: Plan | VideoPlan) -> int:
    # No cache on a CPU: predictions do not count cached buffers, and the C library allocates as fast.
    return 0 if plan.case.kind == "cpu" else max(0, min(CACHE, plan.budget - plan.predicted_peak))
