"""What a process takes from the system."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")
"""Where Linux keeps the marks of a process."""


class Footprint:
    """The high-water mark above what there was at the start."""

    def __init__(self) -> None:
        self._start: int = psutil.Process().memory_info().rss

    def forget(self) -> None:
        """Forget peaks up to now, where the system can: a decode is measured, not how its weights were loaded."""
        if STATUS.exists():
            Path("/proc/self/clear_refs").write_text("5")

    def grown(self) -> int:
        """Return bytes at the highest mark."""
        return max(0, _high_water() - self._start)


def taken_by(process: int) -> int:
    """Return the highest mark of another process, or what it takes now where the system keeps none; 0 if it ended."""
    status = Path(f"/proc/{process}/status")
    if sys.platform == "linux":
        return _mark(status) if status.exists() else 0
    try:
        return psutil.Process(process).memory_info().rss
    except psutil.Error:
        return 0


def _mark(status: Path) -> int:
    found = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(found.split()[1]) * 1024


def _high_water() -> int:
    if STATUS.exists():
        return _mark(STATUS)  # not getrusage: a process inherits its parent's mark there, through exec
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
