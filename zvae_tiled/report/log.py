"""What the library logs, under the name `zvae_tiled`: INFO at the start and the end of a run, DEBUG at each sweep."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.stage import Stage, Sweep
from zvae_tiled.wording import duration, size

if TYPE_CHECKING:
    from zvae_tiled.engine.sample_error import SampleError
    from zvae_tiled.planner.video import VideoPlan
    from zvae_tiled.report.report import Report
    from zvae_tiled.report.video import VideoReport

LOG = logging.getLogger("zvae_tiled")


def log_planned(plan: Plan) -> None:
    """Log what will be run, and what it will cost."""
    if LOG.isEnabledFor(logging.INFO):
        cost = f"{size(plan.predicted_peak)} of {size(plan.budget)}, {duration(plan.predicted_seconds)} if idle"
        LOG.info("planned: %s, %d sweeps, %s", _what(plan), plan.case.batch * plan.sweep_count, cost)


def log_shortage(problem: str, left: str) -> None:
    """Warn that memory ran out, and that another plan is made."""
    LOG.warning("%s: planning once more, with %s", problem, left)


def log_finished(report: Report) -> None:
    """Log what was run, and what it cost."""
    if LOG.isEnabledFor(logging.INFO):
        cost = f"{size(report.measured_peak)} measured, {duration(report.seconds)}"
        LOG.info("finished: %s, %s", _what(report.plan), cost)


def log_video(what: str, figures: VideoPlan | VideoReport) -> None:
    """Log that a video is planned or finished, with its figures."""
    if LOG.isEnabledFor(logging.INFO):
        LOG.info("%s: %s", what, ", ".join(" ".join(line.split()) for line in str(figures).splitlines()))


def log_sampled(error: SampleError) -> None:
    """Log the error of the attention to sampled keys."""
    LOG.info("sampled: %s", " ".join(str(error).splitlines()))


def log_sweep(number: int, sweeps: int, stage: Stage, sweep: Sweep) -> None:
    """Log the start of a sweep."""
    place = f"{stage.name}, Steps {sweep.start} to {sweep.stop}, {sweep.choice}"
    LOG.debug("sweep %d of %d: %s, bands of %d rows", number, sweeps, place, sweep.rows)


def _what(plan: Plan) -> str:
    case, (height, width) = plan.case, plan.case.pixels
    kind = "" if plan.quality.name == "exact" else f" {plan.quality.name}"
    return f"{case.task} of {case.batch} x {width}x{height}{kind}, {case.dtype} on {case.device}"
