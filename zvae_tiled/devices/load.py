"""Measures how much other programs compute on this machine, while this process measures its own speed."""

from __future__ import annotations

import time

import psutil

IDLE = ("idle", "iowait", "guest", "guest_nice")
"""Fields of the system's times in which no core computes for a program, or that another field contains."""

BUSY = 0.1
"""If other programs take more than this share of the cores, speeds are measured too low."""


class OtherLoad:
    """The cores that other programs use, from its construction on."""

    def __init__(self) -> None:
        """Start counting."""
        self._start = time.perf_counter()
        self._used, self._own = _used(), _own()

    def cores(self) -> float:
        """Return the mean number of cores that other programs used since the start."""
        seconds = time.perf_counter() - self._start
        others = (_used() - self._used) - (_own() - self._own)
        return max(0.0, others / seconds) if seconds else 0.0

    def sentence(self) -> str:
        """Return what to tell the user; empty if the machine was idle but for this process."""
        cores, count = self.cores(), psutil.cpu_count() or 1
        if cores <= BUSY * count:
            return ""
        return f"other programs used {cores:.1f} of {count} cores meanwhile: measure again when they are idle"


def _used() -> float:
    """Return the core-seconds that all programs have used since the machine started."""
    times = psutil.cpu_times()._asdict()
    return float(sum(seconds for name, seconds in times.items() if name not in IDLE))


def _own() -> float:
    """Return the core-seconds of this process, in all its threads."""
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
