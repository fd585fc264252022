"""What the library logs, under the name `zvae_tiled`: INFO at the start and the end of a run, DEBUG at each sweep."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.stage import Stage, Sweep
from zvae_tiled.wording import duration, size

if TYPE_CHECKING:
    from zvae_tiled.report.report import Report

LOG = logging.getLogger("zvae_tiled")


def log_planned(plan: Plan) -> None:
    """Log what will be run, and what it will cost."""
    if LOG.isEnabledFor(logging.INFO):
        cost = f"{size(plan.predicted_peak)} of {size(plan.budget)}, {duration(plan.predicted_seconds)} if idle"
        LOG.info("planned: %s, %d sweeps, %s", _what(plan), plan.case.batch * plan.sweep_count, cost)


def log_finished(report: Report) -> None:
    """Log what was run, and what it cost."""
    if LOG.isEnabledFor(logging.INFO):
        cost = f"{size(report.measured_peak)} measured, {duration(report.seconds)}"
        LOG.info("finished: %s, %s", _what(report.plan), cost)


def log_streamed(plan: Plan, seconds: float) -> None:
    """Log the end of a stream, whose memory is not measured."""
    if LOG.isEnabledFor(logging.INFO):
        LOG.info("finished: %s, %s", _what(plan), duration(seconds))


def log_sweep(number: int, sweeps: int, stage: Stage, sweep: Sweep) -> None:
    """Log the start of a sweep."""
    place = f"{stage.name}, Steps {sweep.start} to {sweep.stop}, {sweep.choice}"
    LOG.debug("sweep %d of %d: %s, bands of %d rows", number, sweeps, place, sweep.rows)


def _what(plan: Plan) -> str:
    case, (height, width) = plan.case, plan.case.pixels
    kind = "" if plan.quality.name == "exact" else f" {plan.quality.name}"
    return f"{case.task} of {case.batch} x {width}x{height}{kind}, {case.dtype} on {case.device}"
