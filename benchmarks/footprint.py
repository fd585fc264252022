"""What a process takes from the system, and a limit on it."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")


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


def _high_water() -> int:
    if STATUS.exists():
        # Not getrusage: a process inherits its parent's mark there, through exec.
        found = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(found.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
