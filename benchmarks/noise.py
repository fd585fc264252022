"""Measures how much a machine did for other processes while a child ran."""

from __future__ import annotations

import os
import time

import psutil


class Noise:
    """The share of all cores that other processes used, from the construction of this object."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.monotonic(), _busy(), _own()

    def share(self) -> float:
        """Return the share from 0 to 1. It includes time that a hypervisor spent on other machines."""
        seconds = max(time.monotonic() - self._start, 1e-9) * (psutil.cpu_count() or 1)
        share = ((_busy() - self._busy) - (_own() - self._own)) / seconds
        return round(min(1.0, max(0.0, share)), 3)  # rounded ticks may give slightly less than 0 or more than 1


def _busy() -> float:
    """Return the seconds that all cores have been busy, in ticks of 10 ms."""
    times = psutil.cpu_times()._asdict()  # user and nice include guest and guest_nice
    return float(sum(value for name, value in times.items() if name not in ("idle", "iowait", "guest", "guest_nice")))


def _own() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
