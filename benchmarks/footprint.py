"""Measures the memory that a process takes from the system."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")
"""Where Linux keeps a process's high-water mark."""


class Footprint:
    """The growth of this process: its high-water mark minus its size at the start."""

    def __init__(self) -> None:
        self._start: int = psutil.Process().memory_info().rss

    def forget(self) -> None:
        """Reset the high-water mark, if the system can, so that loading the weights is not measured."""
        if STATUS.exists():
            Path("/proc/self/clear_refs").write_text("5")

    def grown(self) -> int:
        """Return the growth in bytes."""
        return max(0, _high_water() - self._start)


def taken_by(process: int) -> int:
    """Return another process's high-water mark, or its size now on systems without marks. Return 0 if it has ended."""
    status = Path(f"/proc/{process}/status")
    if sys.platform == "linux":
        return _mark(status) if status.exists() else 0
    try:
        return psutil.Process(process).memory_info().rss
    except psutil.Error:
        return 0


def _mark(status: Path) -> int:
    mark = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(mark.split()[1]) * 1024


def _high_water() -> int:
    if STATUS.exists():
        return _mark(STATUS)  # not getrusage, whose mark a process inherits from its parent through exec
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
