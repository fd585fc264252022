"""`Decode` and `Encode`: one of them, checked and planned, which only has to run."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Chain
from zvae_tiled.checks import path_of
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.here import available, kernels_for, this_device
from zvae_tiled.engine.picture import PictureRun
from zvae_tiled.engine.spill import check_free_space, temporary_folder
from zvae_tiled.errors import PlanError
from zvae_tiled.families import Task
from zvae_tiled.jobs.limits import ceiling_of, limits
from zvae_tiled.planner.budget import parse_budget
from zvae_tiled.planner.case import Case, Output
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality, quality_of
from zvae_tiled.planner.replay import replayed
from zvae_tiled.report.progress import Listener, Tracker, listener_of
from zvae_tiled.report.report import Meter, Report
from zvae_tiled.sinks import Sink
from zvae_tiled.weights.vae import dtype_name

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


@dataclass(frozen=True)
class Terms:
    """What somebody asks of a decode, or an encode, whatever is decoded.

    Attributes:
        budget: Memory it may use, in any form that `parse_budget` reads.
        plan: A plan to replay, in place of a budget and a quality.
        quality: A quality, or its name.
        progress: True for a line on the terminal, or a function that takes a `Progress`.
        spill_folder: Where maps go that do not fit; None for `temporary_folder`.
    """

    budget: str | float | None = None
    plan: Plan | None = None
    quality: str | Quality = "exact"
    progress: bool | Listener = False
    spill_folder: str | os.PathLike[str] | None = None


class Job(ABC):
    """A decode, or an encode, of one batch.

    Attributes:
        report: What was predicted, and what was measured, when it last ran; None before.
    """

    task: Task

    def __init__(self, vae: VAE, given: mx.array, terms: Terms) -> None:
        """Take what is checked already.

        Args:
            vae: The VAE.
            given: A batch of latents, or of pictures, (B, H, W, C).
            terms: What is asked for.
        """
        self._vae = vae
        self._given = given
        self._terms = terms
        self._quality = quality_of(terms.quality)
        if terms.plan is not None and terms.budget is not None:
            raise PlanError("a plan has its own budget; budget= was given beside plan=", "Leave one of them out.")
        if terms.plan is not None and self._quality != Exact():
            raise PlanError("a plan has its own quality; quality= was given beside plan=", "Leave one of them out.")
        named = terms.spill_folder
        self._folder = temporary_folder() if named is None else path_of(named, "spill_folder")
        self._listener = listener_of(terms.progress)
        self._device = this_device(vae.dtype)
        self.report: Report | None = None

    @property
    @abstractmethod
    def _size(self) -> tuple[int, int]:
        """Rows and columns of the VAE's latents."""

    @abstractmethod
    def _ready(self, picture: int) -> mx.array:
        """Return one of the batch, ready for the first Step."""

    @abstractmethod
    def _finish(self, rows: mx.array) -> mx.array:
        """Make finished rows of what the last Step gives."""

    def planned(self, output: Output, gathered: int = 0) -> Plan:
        """Return the plan for finished pictures that are held in memory, or handed on row by row.

        Args:
            output: ``array`` or ``rows``.
            gathered: Bytes of rows that a file gathers.

        Raises:
            BudgetError: Nothing of this quality fits the budget; it names the smallest that works.
            PlanError: The plan that was given is not one for this.
        """
        vae, device, terms = self._vae, self._device, self._terms
        dtype, weights = dtype_name(vae.dtype), vae.weight_bytes
        case = Case(vae.config, *self._size, device.name, dtype, self._given.shape[0], output, self.task)
        if terms.plan is not None:
            return replayed(terms.plan, case, device, weights, gathered)
        budget = parse_budget(terms.budget, available(weights))
        return make_plan(case, self._quality, budget, device, weights, gathered)

    def _run(self, plan: Plan, sink: Sink) -> Report:
        """Go through a plan into a sink, which is closed, or told to leave nothing behind."""
        try:
            with limits(plan, ceiling_of(plan, self._held)):
                meter = Meter(self._held)
                for picture, rows in self._rows(plan, meter.watching(self._listener)):
                    sink.write(picture, rows)
                    meter.host(sink.host_bytes)
                    del rows
                report = meter.report(plan)
            sink.close()
        except BaseException:  # Ctrl-C too
            sink.abort()
            raise
        self.report = report
        return report

    @property
    def _held(self) -> int:
        """Bytes of this job that are there before it starts."""
        return self._vae.weight_bytes + self._given.nbytes

    def _rows(self, plan: Plan, listener: Listener | None) -> Iterator[tuple[int, mx.array]]:
        """Yield finished rows with the number of their picture, top to bottom."""
        check_free_space(self._folder, plan.spilled)
        weights = self._vae.weights
        kernels, folded = kernels_for(self._device, self._vae.dtype), norms(plan.case.chain, weights)
        tracker = Tracker(plan, listener)
        for picture in range(plan.case.batch):
            run = PictureRun(plan, kernels, weights, folded, self._folder, tracker.read)
            make_room(2 * self._given[picture].nbytes)
            for rows in run.rows(self._ready(picture)):
                done = [self._finish(rows)]
                del rows
                yield picture, done.pop()
        tracker.finish()


def norms(chain: Chain, weights: Mapping[str, mx.array]) -> dict[str, np.ndarray]:
    """Return weights and biases of the Chain's norms."""
    names = [f"{step.norm.name}.{part}" for step in chain.steps if step.norm for part in ("weight", "bias")]
    return {name: np.asarray(weights[name].astype(mx.float32)).astype(np.float64) for name in names}
