"""Progress of a decode or an encode: the share that is done, and the time that remains."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from zvae_tiled.checks import truth
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.stage import Stage
from zvae_tiled.report.log import LOG, log_sweep
from zvae_tiled.report.steady import Steady
from zvae_tiled.wording import until


@dataclass(frozen=True)
class Progress:
    """The progress of a decode or an encode.

    Attributes:
        done: Share of the work that is done, from 0 to 1. Sweeps are weighted by their predicted times.
        sweep: Number of the current sweep, counted from 1 over all pictures.
        sweeps: Number of sweeps of all pictures.
        seconds: Time since the start.
        rows: Rows of the picture, or of the tile, that this sweep has finished.
        height: Rows of the picture, or of the tile.
        budget: The budget in bytes.
        memory: Bytes in use now, weights included.
        peak: The most bytes in use so far.
        before: Share of the work that an earlier process did.
    """

    done: float
    sweep: int
    sweeps: int
    seconds: float
    rows: int = 0
    height: int = 0
    budget: int = 0
    memory: int = 0
    peak: int = 0
    before: float = 0.0

    @property
    def remaining(self) -> float:
        """Estimated seconds to go, at the average speed so far. Infinite at the start."""
        own = self.done - self.before
        return self.seconds * (1 - self.done) / own if own > 0 else float("inf")


Listener = Callable[[Progress], object]


def listener_of(progress: bool | Listener) -> Listener | None:
    """Return the function to call with the progress: None for False, `print_line` for True, or the caller's own."""
    if callable(progress):
        return progress
    return print_line if truth("progress", progress) else None


def print_line(progress: Progress) -> None:
    """Overwrite one line on standard error. Where that cannot be written to, the decode goes on."""
    end = "\n" if progress.done >= 1 else ""
    when = until(progress.remaining)
    when = f", {when}" if when else ""
    text = f"\r{progress.done:6.1%}  sweep {progress.sweep}/{progress.sweeps}  {progress.seconds:6.1f} s"
    print(f"{text}, {progress.remaining:6.1f} s to go{when:20} ", end=end, file=Steady(sys.stderr), flush=True)


class Tracker:
    """Computes the progress from the rows read. Each sweep is weighted by its predicted time."""

    def __init__(self, plan: Plan, listener: Listener | None) -> None:
        """Start the clock."""
        self._listener = listener
        self._logs = LOG.isEnabledFor(logging.DEBUG)
        self._start = time.perf_counter()
        self._total = plan.predicted_seconds or 1.0
        self._sweeps = plan.case.batch * plan.sweep_count
        self._stages = plan.stages
        self._before = 0.0
        self._chain, self._scale = plan.case.chain, plan.case.config.scale
        self._height = plan.case.pixels[0]
        self._budget = plan.budget
        self._finished = 0.0  # predicted seconds of the earlier sweeps
        self._sweep = 0
        self._share = 1.0

    def go_on(self, picture: int, sweep: int, before: float) -> None:
        """Begin at a sweep of a picture.

        Args:
            picture: The picture.
            sweep: The sweep. Another process did all sweeps before it, and perhaps rows of its own.
            before: Share of the work that another process did, these rows included.
        """
        (stage,) = self._stages
        self._sweep = picture * len(stage.sweeps) + sweep
        self._finished = picture * stage.seconds + sum(each.seconds for each in stage.sweeps[:sweep])
        self._before = before

    def read(self, stage: Stage, index: int, rows: int) -> None:
        """Record that sweep `index` of a stage has read `rows` rows of its start cut so far."""
        if self._listener is None and not self._logs:
            return
        sweep = stage.sweeps[index]
        share = rows / (stage.height * self._chain.factors[sweep.start])
        if share <= self._share and self._share >= 1.0:
            self._sweep += 1
            if self._logs:
                log_sweep(self._sweep, self._sweeps, stage, sweep)
        self._share = share
        seconds = self._finished + share * sweep.seconds
        if share >= 1.0:
            self._finished += sweep.seconds
        if self._listener is None:
            return
        # The last rows are read before they are computed, so only `finish` reports 1.
        done = min(seconds / self._total, 0.999)
        height = stage.height * self._scale
        elapsed = time.perf_counter() - self._start
        rows = round(share * height)
        self._listener(
            Progress(
                done, self._sweep, self._sweeps, elapsed, rows, height, self._budget, before=min(self._before, done)
            )
        )

    def finish(self) -> None:
        """Report that all is done."""
        if self._listener is not None:
            elapsed = time.perf_counter() - self._start
            self._listener(Progress(1.0, self._sweeps, self._sweeps, elapsed, self._height, self._height, self._budget))
