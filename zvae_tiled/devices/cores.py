"""Counts the cores that this process can use: those it may run on, limited by its container's CPU quota."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from zvae_tiled.devices.cgroup import PROC, cpu_quota

MOST = 256
"""The most cores that are counted: the stacks of more threads take more memory than plans have for them
(`planner.ends.PROCESS`)."""

_most: ContextVar[int | None] = ContextVar("most cores", default=None)
"""The limit of `at_most`."""


@contextmanager
def at_most(cores: int | None) -> Iterator[None]:
    """Let this thread's decodes count no more cores while the block runs: plans of fewer cores take less memory."""
    before = _most.set(cores)
    try:
        yield
    finally:
        _most.reset(before)


def usable_cores(proc: Path = PROC) -> int:
    """Return the physical cores that this process may use, limited by its container's CPU quota, and by `at_most`.

    Args:
        proc: The folder of the process in ``/proc``.
    """
    return min(each for each in (MOST, _cores(), cpu_quota(proc), _most.get()) if each is not None)


def _cores() -> int:
    """Return the number of physical cores. A second thread on a core has no multiplier of its own."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return _different(frozenset(os.sched_getaffinity(0)))


@cache  # where a CPU is does not change while the system runs
def _different(cpus: frozenset[int]) -> int:
    """Return on how many cores these CPUs are."""
    places = set[str]()
    for cpu in cpus:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            places.add((topology / "thread_siblings_list").read_text())  # core_id begins anew in each cluster of ARM
        except OSError:
            places.add(f"{cpu}")
    return len(places)
