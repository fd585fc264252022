"""How many threads are of use: the cores this process may run on, or fewer where its container is given less time."""

from __future__ import annotations

import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the physical cores this process may use, no more than its container's quota of time is worth."""
    cores, quota = _cores(), _quota(_GROUPS)
    return cores if quota is None else min(cores, quota)


def _cores() -> int:
    """Return the physical cores: a second thread on a core has no multiplier of its own."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    places = set()
    for cpu in os.sched_getaffinity(0):
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            places.add(tuple((topology / name).read_text() for name in ("physical_package_id", "core_id")))
        except OSError:
            places.add((str(cpu),))
    return len(places)


def _quota(groups: Path) -> int | None:
    """Return the cores a container's time comes to, rounded up; None where there is no limit."""
    # cgroup v2, then v1; "max" and -1 both mean none.
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            numbers = " ".join((groups / name).read_text() for name in names).split()
        except OSError:
            continue
        if len(numbers) == 2 and all(number.isdecimal() and int(number) for number in numbers):
            return -(-int(numbers[0]) // int(numbers[1]))
    return None
