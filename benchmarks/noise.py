"""What else a machine did while a child ran."""

from __future__ import annotations

import os
import time

import psutil


class Noise:
    """The share of all cores that neither this process nor its children took, since it was made."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.monotonic(), _busy(), _own()

    def share(self) -> float:
        """Return what others took since then, time that a hypervisor gave to other machines included; 0 to 1."""
        seconds = max(time.monotonic() - self._start, 1e-9) * (psutil.cpu_count() or 1)
        share = ((_busy() - self._busy) - (_own() - self._own)) / seconds
        return round(min(1.0, max(0.0, share)), 3)  # ticks may add up to a little more, or less


def _busy() -> float:
    """Return the seconds all cores have been busy; ticks of 10 ms."""
    times = psutil.cpu_times()._asdict()  # guests are part of user and nice
    return float(sum(value for name, value in times.items() if name not in ("idle", "iowait", "guest", "guest_nice")))


def _own() -> float:
    found = os.times()
    return found.user + found.system + found.children_user + found.children_system
