"""A ceiling that remembers what it was asked for, and what a process holds whatever else runs."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from zvae_tiled.devices.heap import Ceiling


class Asked(Ceiling):
    """Never reached."""

    def __init__(self) -> None:
        super().__init__(1 << 40)
        self.sizes: list[int] = []

    def make_room(self, size: int) -> None:
        self.sizes.append(size)


def held() -> int:
    """The bytes of its own that this process holds, also those that the system has swapped out for other programs."""
    if sys.platform == "linux":
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        kinds = {words[0]: int(words[1]) << 10 for words in lines if words and words[-1] == "kB"}
        if "RssAnon:" in kinds:
            return kinds["RssAnon:"] + kinds.get("VmSwap:", 0)
    return int(psutil.Process().memory_info().rss)
