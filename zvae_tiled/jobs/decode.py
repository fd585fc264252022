"""`Decode`: one decode that is checked and planned, and ready to run."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx

from zvae_tiled.checks import path_of
from zvae_tiled.devices.cores import at_most
from zvae_tiled.devices.evaluated import evaluate
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.here import this_device
from zvae_tiled.engine.amplified import crop_of
from zvae_tiled.engine.checkpoints import Checkpoints
from zvae_tiled.families import Task, VAEConfig
from zvae_tiled.files.protect import Source, check_outputs
from zvae_tiled.files.work_folder import WorkFolder, understood
from zvae_tiled.inputs.arrays import OutputType, PixelType, check_output
from zvae_tiled.inputs.latent_space import unpacked, unscale_latents
from zvae_tiled.inputs.latents import Latents, picture_shape
from zvae_tiled.jobs.amplified import amplified
from zvae_tiled.jobs.job import Job, Terms
from zvae_tiled.jobs.limits import ceiling_of, limits
from zvae_tiled.jobs.work import (
    FORMAT,
    NotedSink,
    check_room,
    check_same,
    cores_here,
    cores_of,
    digest_of,
    program,
    removed,
    warn_of_formats,
)
from zvae_tiled.planner.files import parse
from zvae_tiled.planner.make import check_buffer
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.reached import reached
from zvae_tiled.report.log import log_finished, log_planned
from zvae_tiled.report.report import Meter, Report
from zvae_tiled.shortage import CLOSE, shortages
from zvae_tiled.sinks import ArraySink, Place, targets_of
from zvae_tiled.sinks.notes import notes_of
from zvae_tiled.sinks.targets import Targets
from zvae_tiled.weights.vae import dtype_name
from zvae_tiled.wording import counted, size

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


class Decode(Job):
    """A decode that is checked and planned. It returns the pictures as an array, as files, or row by row."""

    task: Task = "decode"

    def __init__(
        self,
        vae: VAE,
        latents: mx.array,
        scaled: bool,
        terms: Terms,
        raw: bool = False,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Take checked latents. Most callers should use `VAE.prepare`.

        Args:
            vae: The VAE.
            latents: A pipeline's latents (B, h, w, C).
            scaled: Whether scale and shift are not undone yet.
            terms: The options of the decode.
            raw: Whether to return the decoder's own values, about [-1, 1].
            texts: Texts for the files of the pictures.
        """
        super().__init__(vae, latents, terms)
        self._scaled = scaled
        self._raw = raw
        self._texts = texts

    @cached_property
    def plan(self) -> Plan:
        """The plan for rows that are passed on. `array` makes a plan that also counts the pictures."""
        with shortages("planning", CLOSE):
            return self._planned("rows")

    @property
    def _sources(self) -> tuple[Source, ...]:
        """Files that were read, which no output may replace."""
        return self._vae.sources

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, H, W, C) of the pictures."""
        return picture_shape(self._vae.config, self._inputs)

    def __repr__(self) -> str:
        """Return a line: the pictures, how they are made, and the predicted peak once it is planned."""
        batch, height, width, _ = self.shape
        plan = self.__dict__.get("plan")  # a line must not take the time of a plan
        peak = "" if plan is None else f", {size(plan.predicted_peak)}"
        return f"<{type(self).__name__} of {counted(batch, 'picture')} of {width}x{height} pixels, {self._how}{peak}>"

    @property
    def _how(self) -> str:
        return (self._quality if self._terms.plan is None else self._terms.plan.quality).name

    def array(
        self, output_type: OutputType = "mx", dtype: PixelType = "float32", layout: Literal["NHWC", "NCHW"] = "NHWC"
    ) -> Any:
        """Decode into memory. The arguments are those of `VAE.decode`.

        Returns:
            Pictures as float32 (B, H, W, 3) in [0, 1], or as `dtype` and `layout` say; a list of images for ``pil``.
        """
        check_output(
            output_type, dtype, layout, in_unit_range=not self._raw, channels=self._vae.config.picture_channels
        )
        levels = dtype == "uint8" or output_type == "pil"
        kind = mx.uint8 if levels else self._vae.dtype if self._raw else mx.float32
        # Pillow copies the levels into images of four bytes a pixel, so it needs the room of an array of floats.
        few = levels and output_type != "pil"

        def attempt() -> Any:
            sink = ArraySink(self.shape, kind, output_type, layout == "NCHW")
            self._run(self._planned_levels() if few else self._planned("array"), sink)
            return sink.result()

        return self._attempted(attempt)

    def _planned_levels(self) -> Plan:
        """Return the plan for pictures of one byte a channel, which are gathered like the rows of a file."""
        count = math.prod(self.shape)
        check_buffer(count, self._device)
        return self._planned("rows", count)

    def write(
        self,
        path: Place | Sequence[Place],
        *,
        bits: int | None = None,
        overwrite: bool = True,
        format: str | None = None,
    ) -> Report:
        """Decode into a file, row by row. The arguments are those of `VAE.decode_to_file`.

        Raises:
            OutputError: The file cannot be written, or is one of the VAE's files. No part of it is left.
            OutOfMemoryError: Memory ran out, twice if the budget follows the free memory. No part of it is left.
        """
        work = None if self._terms.work is None else path_of(self._terms.work, "work")
        with shortages("planning", CLOSE):
            target = targets_of(path, self.shape, bits, overwrite, format, self._texts, work)
            check_outputs(target.paths, self._sources)
        if work is not None:
            with shortages("decoding", f"Close other programs, and decode again: {work} keeps what is done."):
                return self._write_in(work, target)

        def attempt() -> Report:
            plan = self._planned("rows", target.gathered) if target.gathered else self.plan
            target.check_room(plan.spilled, self._folder)
            return self._run(plan, target.sink(self._notes(plan)))

        # What a file object was given cannot be taken back.
        return self._attempted(attempt, again=len(target.files) == len(target.targets))

    def _write_in(self, work: Path, target: Targets) -> Report:
        """Decode into files, with a work folder: from the beginning, or from where another process stopped."""
        target.check_work(work)
        folder = WorkFolder(work)
        try:
            begun = self._begun_with(target)
            if folder.begun:
                check_same(folder, begun)
            with at_most(cores_of(folder)):
                return self._noted(folder, target, begun)
        finally:
            if folder.journal.first is not None or folder.journal.torn:
                folder.close()
            else:  # refused before it was begun
                removed(folder)

    def _noted(self, folder: WorkFolder, target: Targets, begun: dict[str, Any]) -> Report:
        """Decode with a work folder that is this decode's, by the plan and with the cores that it was begun with."""
        known = folder.journal.first
        here = this_device(self._vae.dtype)
        if known is not None and here.name == self._device.name:  # else the environment names other kernels by now
            self._device = here
        with understood(folder.path):
            replay = None if known is None else parse(known["plan"])
        plan = self._planned("rows", target.gathered, replay)
        check_room(folder, plan, target)
        if known is None:
            where = {"pictures": list(map(os.path.abspath, target.paths)), "cores": cores_here()}
            folder.begin({**begun, "plan": plan.to_json(), **where})
        notes = Checkpoints(folder, plan.case.itemsize, len(target.targets))
        warn_of_formats(target, plan)
        outputs = target.work_sinks(self._notes(plan), folder.path.joinpath)
        with understood(folder.path):
            self._went_on = reached(plan, (notes.picture, notes.sweep, notes.rows))
            sink = NotedSink(outputs, notes, plan)
        report = self._run(plan, sink, notes)
        removed(folder)
        return report

    def _begun_with(self, target: Targets) -> dict[str, Any]:
        """Return all on which bits depend, as plain values."""
        terms, (height, width), device = self._terms, self.shape[1:3], self._device
        outputs = [(each.kind.__name__, each.bits, dict(each.texts)) for each in target.targets]
        return {
            "zvae": FORMAT,
            "latents": digest_of({"latents": self._inputs, "scaled": mx.array(self._scaled)}),
            "weights": digest_of(self._vae.weights),
            "config": hashlib.sha256(repr(self._vae.config).encode()).hexdigest(),
            "program": program(device.name, dtype_name(self._vae.dtype)),
            "options": {
                "budget": None if terms.budget is None else str(terms.budget),
                "disk_limit": None if terms.disk_limit is None else str(terms.disk_limit),
                "plan": None if terms.plan is None else terms.plan.digest,
                "quality": str(self._quality),
            },
            "outputs": hashlib.sha256(json.dumps([outputs, height, width]).encode()).hexdigest(),
        }

    def _notes(self, plan: Plan) -> dict[str, str]:
        """Return what a picture's file says of how it was made."""
        return notes_of(plan)

    def rows(self) -> Iterator[mx.array]:
        """Yield rows (1, rows, W, 3), top to bottom, one picture of the batch after the other.

        The budget does not cover rows that the caller keeps. Closing the iterator early frees everything. After the
        last row `report` has the measurements, without the caller's arrays.
        """
        _ = self.plan  # raises here if nothing fits
        return self._streamed()

    def _streamed(self) -> Iterator[mx.array]:
        """Yield rows. Before the first of them, another plan may take the place of one for which memory is short."""

        def begun() -> tuple[Iterator[mx.array], list[mx.array]]:
            rows = self._limited_rows(self.plan)
            return rows, [*islice(rows, 1)]

        rows, first = self._attempted(begun)
        while first:
            yield first.pop()
        yield from rows

    def _limited_rows(self, plan: Plan) -> Iterator[mx.array]:
        """Yield rows. Memory is limited while a row is computed, and not while the caller uses it."""
        ceiling = ceiling_of(plan, self._held)
        with limits(plan, ceiling):  # peaks are those of the process, and it resets them
            meter = Meter(self._held)
        rows = self._rows(plan, meter.watching(self._listener))
        log_planned(plan)
        while True:
            with shortages("decoding"), limits(plan, ceiling):
                meter.resume()
                following = [row.astype(self._vae.dtype) if self._raw else row for _, row in islice(rows, 1)]
                evaluate(following)
                meter.pause(sum(row.nbytes for row in following))
                if not following:
                    self.report = self._described(meter.report(plan, tuple(self._sampled)))
                    log_finished(self.report)
                    return
            yield following.pop()

    @property
    def _size(self) -> tuple[int, int]:
        patch = self._vae.config.latents.patch
        return self._inputs.shape[1] * patch, self._inputs.shape[2] * patch

    def _amplified(self, plan: Plan) -> float | None:
        """Measure the amplification in the middle of the first picture, in no more memory than the plan predicts."""
        if plan.sampled is None:
            return None
        height, width = self._inputs.shape[1:3]
        rows, columns = crop_of(height, width, self._vae.config.latents.patch)
        top, left = (height - rows) // 2, (width - columns) // 2
        crop = self._made_ready(self._inputs[:1, top : top + rows, left : left + columns])
        return amplified(plan, self._vae, self._device, crop, self._folder)

    def _ready(self, picture: int) -> mx.array:
        return self._made_ready(self._inputs[picture : picture + 1])

    def _made_ready(self, one: mx.array) -> mx.array:
        vae = self._vae
        if not vae.config.chain("decode").steps:  # nothing is computed in the VAE's type, so nothing is converted
            return one
        return ready_latents(one, vae.config, vae.weights, vae.dtype, self._scaled)

    def _finish(self, rows: mx.array) -> mx.array:
        return finished(rows, self._raw, self._vae.config)


def ready_latents(
    latents: mx.array, config: VAEConfig, weights: Mapping[str, mx.array], dtype: mx.Dtype, scaled: bool
) -> mx.array:
    """Return a picture's latents ready for the decoder: unpacked, scale and shift undone, in the VAE's type."""
    convention = config.latents
    if scaled:
        ready = unscale_latents(latents, convention, weights)
    else:
        ready = unpacked(latents, convention.patch, convention.order)
    if convention.clamp:
        ready = (mx.tanh(ready.astype(mx.float32) / convention.clamp) * convention.clamp).astype(ready.dtype)
        evaluate(ready)
    make_room(ready.size * dtype.size)
    ready = ready.astype(dtype)
    evaluate(ready)
    return ready


def finished(rows: mx.array, raw: bool, config: VAEConfig) -> mx.array:
    """Convert the decoder's values, about [-1, 1], to a picture's in [0, 1].

    Args:
        rows: What the last Step gives.
        raw: Whether they stay as they are.
        config: The VAE's config.
    """
    make_room(2 * 4 * rows.size)
    if raw:
        rows = (rows.astype(mx.float32) * 2 - 1).astype(rows.dtype) if config.unit else rows
        rows = mx.clip(rows, -1.0, 1.0) if config.clips else rows
    else:
        rows = rows.astype(mx.float32)  # not under another name, which would keep it beside the result
        rows = mx.clip(rows if config.unit else rows * 0.5 + 0.5, 0.0, 1.0)
    evaluate(rows)
    return rows


def texts_of(latents: Any) -> Mapping[str, str]:
    """Return the texts that came with latents. Plain arrays have none."""
    return latents.texts if isinstance(latents, Latents) else {}


def scaled_of(latents: Any) -> bool:
    """Return whether latents are scaled as in a pipeline. Plain arrays are."""
    return latents.scaled if isinstance(latents, Latents) else True
