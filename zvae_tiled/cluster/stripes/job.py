"""`StripedDecode` and `StripedEncode`: jobs whose rows come from workers, in order, into the output of this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import mlx.core as mx

from zvae_tiled.cluster.row import problem_of
from zvae_tiled.cluster.stripes.picture import Picture
from zvae_tiled.cluster.stripes.piece import Piece
from zvae_tiled.cluster.stripes.tasks import Engines
from zvae_tiled.cluster.stripes.workers import Workers
from zvae_tiled.devices.native_cpu.arrays import mlx_of
from zvae_tiled.engine.checkpoints import Checkpoints
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.jobs.encode import Encode
from zvae_tiled.jobs.job import Job
from zvae_tiled.planner.case import Output
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.striped_plan import StripedPlan
from zvae_tiled.report.log import LOG
from zvae_tiled.report.progress import Listener, Tracker
from zvae_tiled.report.report import Report
from zvae_tiled.wording import size


class Striped(Job):
    """A job of one picture that workers carry out."""

    def stripe(self, planned: StripedPlan, hands: Workers, engine: Engines) -> None:
        """Take how it is computed.

        Args:
            planned: The plan of the workers.
            hands: The workers.
            engine: What they compute with.
        """
        self._striped_plan = planned
        self._hands = hands
        self._engine = engine

    def _planned(self, output: Output, gathered: int = 0, replay: Plan | None = None) -> Plan:
        """Return the plan of the workers."""
        del output, gathered, replay
        return self._striped_plan.plan

    @property
    def _follows(self) -> bool:
        """Whether another attempt would have another plan. The plan is the workers', whatever is free here."""
        return False

    def _rows(
        self, plan: Plan, listener: Listener | None, notes: Checkpoints | None = None
    ) -> Iterator[tuple[int, mx.array]]:
        """Yield the picture's rows as they come."""
        del notes
        tracker, stage, planned = Tracker(plan, listener), plan.pixels, self._striped_plan
        ready = self._ready(0)

        def swept(index: int) -> None:
            start = stage.sweeps[index].start
            tracker.read(stage, index, stage.height * plan.case.chain.factors[start])

        options: Any = planned.stripes, planned.reads, self._hands, self._engine, swept
        picture = Picture(plan.case.chain, stage, *options)
        for piece in picture.rows(Piece(Rows(0, ready.shape[1]), [ready])):
            for strip in piece.value:
                rows = [self._finish(mlx_of(strip))]
                yield 0, rows.pop()
        tracker.finish()

    def _described(self, report: Report) -> Report:
        """Return the report with the memory of the worker that used most; 0 if they do not say it soon."""
        try:
            peak = self._hands.peak()
        except Exception as error:  # the picture is finished: a figure is no reason to throw it away
            LOG.warning("how much memory the workers used is unknown: %s", problem_of(error))
            peak = 0
        values = {each.name: getattr(report, each.name) for each in fields(report)}
        return StripedReport(**{**values, "measured_peak": peak})


class StripedReport(Report):
    """The report of a picture in stripes. Budget and peaks are those of one worker."""

    def memory_line(self) -> str:
        """Return the line of predicted and measured memory of the worker that used most."""
        used = f"{size(self.predicted_peak)} predicted, {size(self.measured_peak)} measured"
        return f"memory     {used}, of each worker's part of the budget, {size(self.budget)}"


class StripedDecode(Striped, Decode):
    """A decode of one picture by workers."""


class StripedEncode(Striped, Encode):
    """An encode of one picture by workers."""
