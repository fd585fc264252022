"""Progress of a decode: how far, how long still."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from zvae_tiled.plan.plan import Plan


@dataclass(frozen=True)
class Progress:
    """How far a decode is.

    Attributes:
        done: Share of the work that is done, from 0 to 1, weighed by the sweeps' predicted times.
        sweep: Which sweep it is in, from 1 on, over all pictures.
        sweeps: How many there are.
        seconds: Time since the start.
    """

    done: float
    sweep: int
    sweeps: int
    seconds: float

    @property
    def remaining(self) -> float:
        """Seconds still to go, if the rest runs as the part before; infinite at the very start."""
        return self.seconds * (1 - self.done) / self.done if self.done else float("inf")


Listener = Callable[[Progress], object]


def listener_of(progress: bool | Listener) -> Listener | None:
    """Return what to call: nothing, a line on the terminal, or the caller's own function."""
    if callable(progress):
        return progress
    return print_line if progress else None


def print_line(progress: Progress) -> None:
    """Keep one line on standard error up to date."""
    end = "\n" if progress.done >= 1 else ""
    text = f"\rdecoding {progress.done:6.1%}  sweep {progress.sweep}/{progress.sweeps}  {progress.seconds:6.1f} s"
    print(f"{text}, {progress.remaining:6.1f} s to go ", end=end, file=sys.stderr, flush=True)


class Tracker:
    """Turns rows read into progress."""

    def __init__(self, plan: Plan, listener: Listener | None) -> None:
        """Start the clock."""
        self._plan = plan
        self._listener = listener
        self._start = time.perf_counter()
        self._total = plan.predicted_seconds or 1.0
        self._picture = 0

    def read(self, index: int, rows: int) -> None:
        """Note that a sweep has read this many rows of its start cut in all."""
        if self._listener is None:
            return
        plan, sweeps = self._plan, self._plan.sweeps
        sweep = sweeps[index]
        share = rows / (plan.height * plan.chain.factors[sweep.start])
        seconds = sum(before.seconds for before in sweeps[:index]) + share * sweep.seconds
        seconds += self._picture * sum(each.seconds for each in sweeps)
        # The last rows are read before they are computed: only `finish` says 1.
        done = min(seconds / self._total, 0.999)
        number = self._picture * len(sweeps) + index + 1
        self._listener(Progress(done, number, plan.batch * len(sweeps), time.perf_counter() - self._start))

    def next_picture(self) -> None:
        """Go on to the next picture of the batch."""
        self._picture += 1

    def finish(self) -> None:
        """Say that all is done."""
        if self._listener is not None:
            sweeps = self._plan.batch * len(self._plan.sweeps)
            self._listener(Progress(1.0, sweeps, sweeps, time.perf_counter() - self._start))
