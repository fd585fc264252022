"""`Job`: a decode or an encode that is checked and planned, and ready to run."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Chain
from zvae_tiled.checks import path_of
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.here import available, kernels_for, this_device
from zvae_tiled.engine.checkpoints import Checkpoints
from zvae_tiled.engine.picture import PictureRun
from zvae_tiled.engine.sample_error import SampleError
from zvae_tiled.engine.spill import check_free_space
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.errors import InputError, PlanError
from zvae_tiled.families import Task
from zvae_tiled.files.temporary import temporary_folder
from zvae_tiled.jobs.limits import ceiling_of, limits
from zvae_tiled.jobs.twice import R, twice
from zvae_tiled.planner.budget import is_share, parse_budget
from zvae_tiled.planner.case import Case, Output
from zvae_tiled.planner.ends import starting_bytes
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality, quality_of
from zvae_tiled.planner.remembered import remembered_plan
from zvae_tiled.planner.replay import replayed
from zvae_tiled.planner.sampled import Sampled
from zvae_tiled.planner.storage import Storage, disk_limit_of
from zvae_tiled.report.log import log_finished, log_planned, log_sampled
from zvae_tiled.report.progress import Listener, Tracker, listener_of
from zvae_tiled.report.report import Meter, Report
from zvae_tiled.sinks import Sink
from zvae_tiled.weights.vae import dtype_name

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


@dataclass(frozen=True)
class Terms:
    """The options of a decode or an encode.

    Attributes:
        budget: Memory it may use, in any form that `parse_budget` reads.
        plan: A plan to replay, in place of a budget and a quality.
        quality: A quality, or its name.
        progress: True for a line on the terminal, or a function that takes a `Progress`.
        spill_folder: The folder for spilled maps. Default: `temporary_folder`.
        disk_limit: The most bytes of maps on disk, in any form that `disk_limit_of` reads. Default: any.
        work: The work folder, if the decode is to go on after a crash.
    """

    budget: str | float | None = None
    plan: Plan | None = None
    quality: str | Quality = "exact"
    progress: bool | Listener = False
    spill_folder: str | os.PathLike[str] | None = None
    disk_limit: str | float | None = None
    work: str | os.PathLike[str] | None = None


class Job(ABC):
    """A decode, or an encode, of one batch.

    Attributes:
        report: Predictions and measurements of the last run; None before the first.
    """

    task: Task

    def __init__(self, vae: VAE, inputs: mx.array, terms: Terms) -> None:
        """Take a checked batch.

        Args:
            vae: The VAE.
            inputs: A batch of latents or of pictures, (B, H, W, C).
            terms: The options.
        """
        self._vae = vae
        self._inputs = inputs
        self._terms = terms
        self._quality = quality_of(terms.quality)
        self._went_on = "", 0.0
        if terms.plan is not None and terms.budget is not None:
            raise PlanError("a plan has its own budget, but budget= is set beside plan=", "Leave one of them out.")
        if terms.plan is not None and self._quality != Exact():
            raise PlanError("a plan has its own quality, but quality= is set beside plan=", "Leave one of them out.")
        if terms.work is not None and terms.spill_folder is not None:
            raise InputError(
                "maps lie in the folder of work=, but spill_folder= is set beside it", "Leave one of them out."
            )
        folder, work = terms.spill_folder, terms.work
        self._folder = temporary_folder() if folder is None else path_of(folder, "spill_folder")
        place = self._folder if work is None else path_of(work, "work")
        self._storage = Storage(disk_limit_of(terms.disk_limit, place), work is not None)
        self._listener = listener_of(terms.progress)
        self._device = this_device(vae.dtype)
        self._sampled: list[SampleError] = []
        self._gain: float | None = None
        self.report: Report | None = None

    @property
    @abstractmethod
    def _size(self) -> tuple[int, int]:
        """Rows and columns of the VAE's latents."""

    @abstractmethod
    def _ready(self, picture: int) -> mx.array:
        """Return input number `picture` of the batch, ready for the first Step."""

    @abstractmethod
    def _finish(self, rows: mx.array) -> mx.array:
        """Convert the last Step's rows to finished rows."""

    def _planned(self, output: Output, gathered: int = 0, replay: Plan | None = None) -> Plan:
        """Return the plan to run: a new one, or the caller's.

        Args:
            output: ``array`` if the pictures are held in memory, ``rows`` if each row is passed on when finished.
            gathered: Bytes of rows that the output file gathers.
            replay: The plan of the work folder, in place of the caller's. It says itself where its maps may be stored.

        Raises:
            BudgetError: No plan of this quality fits the budget. The error names the smallest budget that works.
            PlanError: The caller's plan was made for another case.
        """
        vae, device, terms = self._vae, self._device, self._terms
        dtype, weights = dtype_name(vae.dtype), self._weights
        case = Case(vae.config, *self._size, device.name, dtype, self._inputs.shape[0], output, self.task)
        if replay is not None:  # a limit that is a share of the free space is another one now
            return replayed(replay, case, device, weights, gathered)
        if terms.plan is not None:
            return replayed(terms.plan, case, device, weights, gathered, self._storage)
        budget = parse_budget(terms.budget, available(weights))
        return remembered_plan(case, self._quality, budget, device, weights, gathered, self._storage)

    def _attempted(self, attempt: Callable[[], R], again: bool = True) -> R:
        """Return what `attempt` does, which plans and runs. A budget that follows the free memory allows a second one.

        Args:
            attempt: The attempt.
            again: Whether a failed one leaves nothing behind, so that there may be a second.

        Raises:
            OutOfMemoryError: Memory ran out.
        """
        return twice(attempt, self._forget if again and self._follows else None, self.task)

    @property
    def _follows(self) -> bool:
        """Whether the budget is a share of the memory that is free when the plan is made."""
        return self._terms.plan is None and is_share(self._terms.budget)

    def _forget(self) -> str:
        """Forget the plan, and return how much memory is left for another one."""
        vars(self).pop("plan", None)  # a cached property
        return str(available(self._weights))

    def _run(self, plan: Plan, sink: Sink, notes: Checkpoints | None = None) -> Report:
        """Run a plan and write its rows to a sink. Close the sink at the end, or abort it on an error.

        Args:
            plan: The plan.
            sink: The sink.
            notes: How far other processes have come, if there is a work folder.
        """
        log_planned(plan)
        try:
            with limits(plan, ceiling_of(plan, self._held)):
                meter = Meter(self._held)
                for picture, rows in self._rows(plan, meter.watching(self._listener), notes):
                    sink.write(picture, rows)
                    meter.host(sink.host_bytes)
                    del rows
                place, before = self._went_on
                report = replace(meter.report(plan, tuple(self._sampled)), went_on=place, before=before)
                report = self._described(report)
            sink.close()
        except BaseException:  # Ctrl-C too
            sink.abort()
            raise
        self.report = report
        log_finished(report)
        return report

    def _amplified(self, plan: Plan) -> float | None:
        """Return by how much an error behind the attention is amplified; None if nothing of this plan depends on it."""
        del plan
        return None

    def _described(self, report: Report) -> Report:
        """Return the report of a run as this job is to be described."""
        return report

    @property
    def _held(self) -> int:
        """Bytes of weights and inputs, which exist before the job starts."""
        return self._weights + self._inputs.nbytes

    @property
    def _weights(self) -> int:
        """Bytes of weights that are loaded."""
        return self._vae.weight_bytes

    def _rows(
        self, plan: Plan, listener: Listener | None, notes: Checkpoints | None = None
    ) -> Iterator[tuple[int, mx.array]]:
        """Yield the number of a picture and its next finished rows, top to bottom."""
        if notes is None:
            check_free_space(self._folder, plan.spilled)
        weights = self._vae.weights
        kernels, folded = kernels_for(self._device, self._vae.dtype), norms(plan.case.chain, weights)
        tracker, first = Tracker(plan, listener), 0
        if notes is not None:
            first = notes.picture
            tracker.go_on(first, notes.sweep, self._went_on[1])
        self._sampled.clear()
        self._gain = self._amplified(plan)
        measured = partial(self._measured, plan)
        for picture in range(first, plan.case.batch):
            run = PictureRun(plan, kernels, weights, folded, SpillFile(self._folder), tracker.read, notes, measured)
            make_room(starting_bytes(plan.case, plan.case.height, plan.case.width))
            for rows in run.rows(self._ready(picture)):
                finished = [self._finish(rows)]
                del rows
                yield picture, finished.pop()
        tracker.finish()

    def _measured(self, plan: Plan, error: SampleError) -> None:
        """Note the error of sampled keys. Stop if it is beyond the tolerance."""
        log_sampled(error)
        self._sampled.append(replace(error, gain=self._gain))
        if isinstance(plan.quality, Sampled):
            error.check(plan.quality.tolerance, plan.quality.keys)


def norms(chain: Chain, weights: Mapping[str, mx.array]) -> dict[str, np.ndarray]:
    """Return the weights and biases of the Chain's norms, by name."""
    names = [f"{step.norm.name}.{part}" for step in chain.steps if step.norm for part in step.norm.parts]
    return {name: np.asarray(weights[name].astype(mx.float32)).astype(np.float64) for name in names}
