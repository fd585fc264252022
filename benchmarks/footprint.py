"""What a process takes from the system, and a limit on it."""

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


def limit_memory(size: int) -> None:
    """Have allocations beyond this many bytes refused; only Linux can."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def taken_by(process: int) -> int:
    """Return the highest mark of another process; where the system keeps none, what it takes now."""
    status = Path(f"/proc/{process}/status")
    return _mark(status) if status.exists() else psutil.Process(process).memory_info().rss


def _mark(status: Path) -> int:
    found = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(found.split()[1]) * 1024


def _high_water() -> int:
    if STATUS.exists():
        return _mark(STATUS)  # not getrusage: a process inherits its parent's mark there, through exec
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
