"""Progress of a decode or an encode: how far, how long still."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.stage import Stage


@dataclass(frozen=True)
class Progress:
    """How far a decode is.

    Attributes:
        done: Share of the work that is done, from 0 to 1, weighed by the sweeps' predicted times.
        sweep: Which sweep it is in, from 1 on, over all pictures.
        sweeps: How many there are.
        seconds: Time since the start.
        rows: Rows of the picture, or of the tile, that this sweep has passed.
        height: Rows it passes in all.
        budget: Bytes allowed.
        memory: Bytes in use now, weights included; None where nothing is measured, in `VAE.stream`.
        peak: The most of them so far.
    """

    done: float
    sweep: int
    sweeps: int
    seconds: float
    rows: int = 0
    height: int = 0
    budget: int = 0
    memory: int | None = None
    peak: int | None = None

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
    text = f"\r{progress.done:6.1%}  sweep {progress.sweep}/{progress.sweeps}  {progress.seconds:6.1f} s"
    print(f"{text}, {progress.remaining:6.1f} s to go ", end=end, file=sys.stderr, flush=True)


class Tracker:
    """Turns rows read into progress: each sweep counts as its predicted time."""

    def __init__(self, plan: Plan, listener: Listener | None) -> None:
        """Start the clock."""
        self._listener = listener
        self._start = time.perf_counter()
        self._total = plan.predicted_seconds or 1.0
        self._sweeps = plan.case.batch * plan.sweep_count
        self._chain, self._scale = plan.case.chain, plan.case.config.scale
        self._height = plan.case.pixels[0]
        self._budget = plan.budget
        self._finished = 0.0  # predicted seconds of the sweeps before this one
        self._sweep = 0
        self._share = 1.0

    def read(self, stage: Stage, index: int, rows: int) -> None:
        """Note that a sweep of a stage has read this many rows of its start cut in all."""
        if self._listener is None:
            return
        sweep = stage.sweeps[index]
        share = rows / (stage.height * self._chain.factors[sweep.start])
        if share <= self._share and self._share >= 1.0:
            self._sweep += 1
        self._share = share
        seconds = self._finished + share * sweep.seconds
        if share >= 1.0:
            self._finished += sweep.seconds
        # The last rows are read before they are computed: only `finish` says 1.
        done = min(seconds / self._total, 0.999)
        height = stage.height * self._scale
        elapsed = time.perf_counter() - self._start
        self._listener(Progress(done, self._sweep, self._sweeps, elapsed, round(share * height), height, self._budget))

    def finish(self) -> None:
        """Say that all is done."""
        if self._listener is not None:
            elapsed = time.perf_counter() - self._start
            self._listener(Progress(1.0, self._sweeps, self._sweeps, elapsed, self._height, self._height, self._budget))
