"""`Watch`: looks who is a member of a run, names a worker that is silent, and ends a run that has no members."""

from __future__ import annotations

import time
from collections.abc import Mapping

from zvae_tiled.cluster.crew import Crew, Seen
from zvae_tiled.cluster.row import problem_of
from zvae_tiled.errors import ClusterError, OutOfMemoryError, ZvaeError
from zvae_tiled.report.log import LOG
from zvae_tiled.shortage import THERE, is_shortage

LOOK = 1.0
"""Seconds between two looks at who is a member."""

PATIENCE = 90.0
"""Seconds that a run goes on without any member that works. Dask starts one that died again in a few."""

ASSEMBLY = 10.0
"""Seconds that workers which can be members have to become members."""

SILENCE = 20.0
"""Seconds without a word of a worker, after which the run says so. Workers say a word every half second or more."""


class Watch:
    """The members of a run, as they were at the last look.

    Attributes:
        members: How the scheduler sees each, by their addresses.
        looked: The time of the last look.
    """

    def __init__(self, crew: Crew) -> None:
        """Begin to look."""
        self._crew = crew
        self.members: dict[str, Seen] = {}
        self._known: dict[str, Seen] = {}  # the members when there were any for the last time
        self._heard: dict[str, float] = {}
        self._start = self._seen = self.looked = time.monotonic()

    def assemble(self, left: str) -> None:
        """Wait for the members that the crew began with. After `ASSEMBLY` it waits no more, if there is one.

        Args:
            left: As in `look`.

        Raises:
            ClusterError: There has been no member for long, or the scheduler does not answer.
        """
        self.look(left)
        while len(self.members) < (self._crew.count if self.looked - self._start < ASSEMBLY else 1):
            time.sleep(0.1)
            self.look(left)

    def look(self, left: str) -> bool:
        """See who is a member.

        Args:
            left: What is left of the work, in words.

        Returns:
            Whether there are members, and all are others than before: what they were to do is forgotten.

        Raises:
            ClusterError: There has been no member that works for long, or the scheduler does not answer.
        """
        self.looked, others = time.monotonic(), False
        self.members = self._crew.members()
        if self.members:
            others = bool(self._known) and _folders(self._known).isdisjoint(_folders(self.members))
            self._listen()
            self._known = self.members
        if not all(seen.paused for seen in self.members.values()):
            self._seen = self.looked
        elif self.looked - self._seen > PATIENCE:
            raise self._none(left)
        return others

    def _none(self, left: str) -> ClusterError:
        """Return the error of a run that no worker works for."""
        again = "then carry out the orders whose files do not exist."
        if not self.members:
            return ClusterError(f"no worker has been there for {PATIENCE:.0f} s, and {left}", f"Start workers, {again}")
        problem = (
            f"Dask gives the workers no tasks for {PATIENCE:.0f} s, for their memory is close to its limit, and {left}"
        )
        return ClusterError(problem, f"Start them again, with --memory-limit 0, {again}")

    def _listen(self) -> None:
        """Say once which worker is silent. After Dask's worker-ttl its work goes to another one."""
        for address, seen in self.members.items():
            if self._known.get(address) != seen:
                self._heard[address] = self.looked
            elif SILENCE < self.looked - self._heard.get(address, self.looked) < float("inf"):
                LOG.warning("%s has said nothing for %.0f s: it is waited for", address, SILENCE)
                self._heard[address] = float("-inf")  # said


def _folders(members: Mapping[str, Seen]) -> set[tuple[str, str]]:
    """Return what no two workers have in common, whenever they are started."""
    return {(address, seen.folder) for address, seen in members.items()}


def lost(error: Exception) -> ZvaeError:
    """Return what Dask says of a task that no worker could carry out."""
    if is_shortage(error):
        return OutOfMemoryError(f"memory ran out on a worker: {problem_of(error)}", THERE)
    if type(error).__name__ == "KilledWorker":
        problem = "the workers that carried it out died, several in turn"
        return ClusterError(problem, "See whether they had enough memory: name a smaller budget.")
    if type(error).__name__ in ("CancelledError", "FutureCancelledError"):
        return ClusterError("the cluster has lost it", "See whether its scheduler still runs.")
    return ClusterError(f"Dask could not carry it out: {type(error).__name__}: {error}")
