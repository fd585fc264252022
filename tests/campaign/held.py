"""What processes hold, round after round: memory, descriptors and threads may not grow."""

from __future__ import annotations

import psutil

Held = dict[str, int]

WARM = 10
"""Rounds after which nothing may grow any more."""

ROOM = 8 << 20
"""Bytes by which the memory of a process may differ between two rounds."""


def held(pid: int | None = None) -> Held:
    """Return what a process holds; default: this one."""
    process = psutil.Process(pid)
    return {
        "memory": process.memory_info().rss,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
    }


class Rounds:
    """What the same processes held at the end of each round."""

    def __init__(self) -> None:
        """Begin with none."""
        self._rounds: list[list[Held]] = []

    def add(self, ended: list[Held]) -> None:
        """Add a round. Raise which process holds more than when it was warm."""
        self._rounds.append(ended)
        if len(self._rounds) <= WARM:
            return
        for number, (warm, now) in enumerate(zip(self._rounds[WARM - 1], ended, strict=True)):
            told = f"process {number}, after {WARM} rounds and after {len(self._rounds)}: {warm}, {now}"
            assert now["descriptors"] <= warm["descriptors"], told
            assert now["threads"] <= warm["threads"], told
            assert now["memory"] <= warm["memory"] + ROOM, told
