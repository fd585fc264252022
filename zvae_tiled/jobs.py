"""`Decode` and `Encode`: one of them, checked and planned, which only has to run."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from zvae_tiled.decoding import available, ceiling_of, finished, limits, norms, ready_latents, temporary_folder
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.here import kernels_for, this_device
from zvae_tiled.encoding import DistributionSink, ready_image
from zvae_tiled.engine.picture import PictureRun
from zvae_tiled.engine.spill import check_free_space
from zvae_tiled.errors import PlanError
from zvae_tiled.families import Task
from zvae_tiled.files.protect import check_outputs
from zvae_tiled.inputs.arrays import OutputType, check_output_type, path_of
from zvae_tiled.inputs.latents import Latents, picture_shape
from zvae_tiled.latent_space import LatentDistribution
from zvae_tiled.planner.budget import parse_budget
from zvae_tiled.planner.case import Case, Output
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality, quality_of
from zvae_tiled.planner.replay import replayed
from zvae_tiled.report.progress import Listener, Tracker, listener_of
from zvae_tiled.report.report import Meter, Report
from zvae_tiled.sinks import ArraySink, Sink, file_target
from zvae_tiled.sinks.notes import notes_of
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


class Decode(Job):
    """A decode that is checked and planned: take the pictures as an array, as files, or row by row."""

    task: Task = "decode"

    def __init__(self, vae: VAE, latents: mx.array, scaled: bool, terms: Terms, raw: bool = False) -> None:
        """Take latents that are checked; most callers want `VAE.prepare`.

        Args:
            vae: The VAE.
            latents: A pipeline's map (B, h, w, C).
            scaled: Whether scale and shift are still to be undone.
            terms: What is asked for.
            raw: Whether the decoder's own values are wanted, about [-1, 1].
        """
        super().__init__(vae, latents, terms)
        self._scaled = scaled
        self._raw = raw

    @cached_property
    def plan(self) -> Plan:
        """The plan for rows that are handed on; `array` needs room for the pictures on top."""
        return self.planned("rows")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, H, W, C) of the pictures."""
        return picture_shape(self._vae.config, self._given)

    def array(self, output_type: OutputType = "mx") -> Any:
        """Decode into memory.

        Args:
            output_type: ``mx``, ``np``, ``pil`` or ``torch``.

        Returns:
            Pictures as float32 (B, H, W, 3) in [0, 1]; a list of images for ``pil``.
        """
        check_output_type(output_type, in_unit_range=not self._raw, channels=self._vae.config.out_channels)
        sink = ArraySink(self.shape, self._vae.dtype if self._raw else mx.float32, output_type)
        self._run(self.planned("array"), sink)
        return sink.result()

    def write(self, path: str | os.PathLike[str], bits: int | None = None, overwrite: bool = True) -> Report:
        """Decode straight into a file, row by row; the arguments are those of `VAE.decode_to_file`.

        Raises:
            OutputError: The file cannot be written, or is one of the VAE's own; nothing is left of it.
        """
        target = file_target(path, self.shape, bits, overwrite)
        check_outputs(target.paths, self._vae.sources)
        plan = self.planned("rows", target.gathered) if target.gathered else self.plan
        target.check_room(plan.spilled, self._folder)
        return self._run(plan, target.sink(notes_of(plan)))

    def rows(self) -> Iterator[mx.array]:
        """Yield rows (1, rows, W, 3), top to bottom, one picture of the batch after the other.

        The budget does not cover rows that the caller keeps. Closing the iterator early frees everything.
        """
        return self._handed_on(self.plan)

    def _handed_on(self, plan: Plan) -> Iterator[mx.array]:
        """Yield rows; the allocator is limited while a row is computed, and not while the caller has its turn."""
        rows, ceiling = self._rows(plan, self._listener), ceiling_of(plan, self._held)
        while True:
            with limits(plan, ceiling):
                found = [row for _, row in islice(rows, 1)]
            if not found:
                return
            yield found.pop()

    @property
    def _size(self) -> tuple[int, int]:
        patch = self._vae.config.latents.patch
        return self._given.shape[1] * patch, self._given.shape[2] * patch

    def _ready(self, picture: int) -> mx.array:
        vae, one = self._vae, self._given[picture : picture + 1]
        return ready_latents(one, vae.config, vae.weights, vae.dtype, self._scaled)

    def _finish(self, rows: mx.array) -> mx.array:
        return finished(rows, self._raw)


class Encode(Job):
    """An encode that is checked."""

    task: Task = "encode"

    def distribution(self) -> LatentDistribution:
        """Encode into the distribution of the latents."""
        vae = self._vae
        sink = DistributionSink(vae.config, vae.weights, (self._given.shape[0], *self._size), vae.dtype)
        self._run(self.planned("array"), sink)
        return sink.result()

    @property
    def _size(self) -> tuple[int, int]:
        scale = self._vae.config.scale
        return self._given.shape[1] // scale, self._given.shape[2] // scale

    def _ready(self, picture: int) -> mx.array:
        return ready_image(self._given[picture : picture + 1], self._vae.dtype)

    def _finish(self, rows: mx.array) -> mx.array:
        return rows


def scaled_of(latents: Any) -> bool:
    """Tell whether latents are scaled as a pipeline has them; plain arrays are."""
    return latents.scaled if isinstance(latents, Latents) else True
