"""`Stall`: ends a run whose workers answer, and yet do nothing. They do not reach each other.

Dask asks a worker that cannot be reached for the same rows again and again, and says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from zvae_tiled.cluster.crew import Crew, Work
from zvae_tiled.errors import ClusterError

STALL = 90.0
"""Seconds in which no worker computes for the run, and nothing of it reaches one."""

CONNECT = 45.0
"""Seconds after which a worker that waits for rows is connected: Dask gives an attempt up after 30, and asks anew."""


class Stall:
    """Watches the work of a crew."""

    def __init__(self, crew: Crew) -> None:
        """Begin to watch."""
        self._crew = crew
        self._held: dict[str, int] = {}
        self._asked: dict[str, tuple[int, float]] = {}
        self._since = time.monotonic()

    def look(self, left: str) -> None:
        """See whether workers compute.

        Args:
            left: What is left of the work, in words.

        Raises:
            ClusterError: Nothing has happened for long, or the scheduler does not answer.
        """
        work, now = self._crew.work(), time.monotonic()
        held = {address: each.holds for address, each in work.items()}
        for address, each in work.items():
            if self._asked.get(address, (None, now))[0] != each.asked:
                self._asked[address] = each.asked, now
        moves = any(each.receives and now - self._asked[address][1] > CONNECT for address, each in work.items())
        if moves or held != self._held or any(each.computes for each in work.values()):
            self._held, self._since = held, now
        elif now - self._since > STALL:
            problem = f"the workers have computed nothing and received nothing for {STALL:.0f} s, and {left}"
            raise ClusterError(problem, _advice(work))


def _advice(work: Mapping[str, Work]) -> str:
    """Return what to do next. Dask gives the tasks of a lost worker also to workers that never carry them out."""
    paused = [address for address, each in work.items() if each.member and each.paused]
    if paused:
        names = ", ".join(paused)
        return f"Dask gives {names} no tasks, for its memory is close to its limit: start it with --memory-limit 0."
    strangers = [address for address, each in work.items() if not each.member]
    stop = f"{', '.join(strangers)} took no part, and may have been given what a lost worker was to do: stop them. "
    return (
        f"{stop if strangers else ''}See whether the workers reach each other: each listens at a port of its own, "
        "which dask worker's --worker-port names. Then carry it out again."
    )
