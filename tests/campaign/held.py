"""What processes hold, round after round: memory, descriptors and threads may not grow."""

from __future__ import annotations

import psutil

Held = dict[str, int]

WARM = 10
"""Rounds after which growth is looked for."""

ROOM = {"memory": 8 << 20, "descriptors": 1, "threads": 1}
"""By how much a process may hold more. A Triton server was seen to start one more thread after 60 rounds, and a worker
of Dask to have one more connection at the end of 2 of 420 rounds."""


def held(pid: int | None = None) -> Held:
    """Return what a process holds; default: this one."""
    process = psutil.Process(pid)
    return {
        "memory": process.memory_info().rss,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
    }


class Rounds:
    """What the same processes held at the end of each round.

    A process is warm when half of its rounds are over: a Triton server, whose memory stayed where it was for 300
    rounds, had reached it after 40.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._rounds: list[list[Held]] = []

    def add(self, ended: list[Held]) -> None:
        """Add a round. Raise which process holds more than it ever did in the first half, but for a little."""
        self._rounds.append(ended)
        half = self._rounds[WARM - 1 : max(WARM, len(self._rounds) // 2)]
        for number, now in enumerate(ended):
            for name, holds in now.items():
                most = max((each[number][name] for each in half), default=holds)
                told = (
                    f"process {number}, round {len(self._rounds)}: it holds {holds:,} {name}, and held {most:,} before"
                )
                assert holds <= most + ROOM[name], told
