"""Runs a plan for one picture: middle block and statistics once, then each tile. An exact decode has one tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.kernels import Affine, Kernels
from zvae_tiled.engine.bands import Store
from zvae_tiled.engine.blend import Blender
from zvae_tiled.engine.checkpoints import Checkpoints
from zvae_tiled.engine.proxy import shrunk
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.sample_error import SampleError
from zvae_tiled.engine.saved import SavedRun
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.engine.window import Window
from zvae_tiled.planner.grid import Span
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.stage import Stage


@dataclass
class PictureRun:
    """Runs a plan for one picture.

    Attributes:
        plan: The plan.
        kernels: The device.
        weights: Parameters of the model, by path.
        norms: Weights and biases of the model's norms, as NumPy arrays.
        spilled: The file for maps on disk.
        on_read: Called with the stage, the sweep's index, and the rows read so far from the sweep's start cut.
        notes: How far other processes have come with this picture, if it has a work folder.
        on_sampled: Called with the error of the attention to sampled keys, before the first pixel is computed.
    """

    plan: Plan
    kernels: Kernels[Any]
    weights: Mapping[str, mx.array]
    norms: Mapping[str, np.ndarray]
    spilled: SpillFile
    on_read: Callable[[Stage, int, int], object]
    notes: Checkpoints | None = None
    on_sampled: Callable[[SampleError], object] | None = None
    _affines: dict[int, Affine] = field(default_factory=dict)

    def rows(self, latents: mx.array) -> Iterator[mx.array]:
        """Decode latents (1, h, w, channels), ready for the first Step, into finished rows of raw values."""
        grid = self.plan.grid
        with ExitStack() as stack:
            stack.callback(self.spilled.discard)
            source = self._middle(latents, stack)
            if grid.count == 1:
                rows = self._tile(latents, source, grid.rows[0], grid.columns[0])
                del latents  # the run frees them as it reads them
                with closing(cast(Any, rows)):  # `map` does not pass on that it is closed
                    yield from map(self.kernels.to_mlx, rows)
            else:
                yield from self._blended(latents, source)

    def _blended(self, latents: mx.array, source: Store[Any] | None) -> Iterator[mx.array]:
        """Decode tile by tile, and blend the overlaps."""
        plan, grid, config = self.plan, self.plan.grid, self.plan.case.config
        blender = Blender(grid.rows, grid.columns, config.scale, config.picture_channels, plan.quality.ramp)
        for row, down in enumerate(grid.rows):
            blender.begin(row)
            for column, across in enumerate(grid.columns):
                top = 0
                for rows in self._tile(latents, source, down, across):
                    pixels = self.kernels.to_host(rows)
                    del rows
                    finished = blender.add(row, column, top, pixels)
                    top += len(pixels)
                    del pixels
                    if len(finished):
                        yield mx.array(finished[None])

    def _middle(self, latents: mx.array, stack: ExitStack) -> Store[Any] | None:
        """Run the stages that need the whole map, middle block and statistics. Return the middle map, if any."""
        plan, (*before, pixels) = self.plan, self.plan.stages
        if not before:
            return None
        middle, *statistics = before
        source = measured = self._run(middle).stored(latents, stack)
        if plan.factors != (1, 1):
            size, channels = (plan.case.height, plan.case.width), plan.case.chain.channels[pixels.start]
            measured = shrunk(self.kernels, source, plan.factors, size, channels)
            stack.callback(measured.close)
        for stage in statistics:  # none, if no norm behind the middle block gathers anything
            self._run(stage).moments_from(measured)
        if measured is not source:
            measured.close()
        return source

    def _tile(self, latents: mx.array, source: Store[Any] | None, down: Span, across: Span) -> Iterator[Any]:
        """Decode one tile, from its latents or from its rectangle of the middle map."""
        height, width = down.high - down.low, across.high - across.low
        whole = (height, width) == (self.plan.case.height, self.plan.case.width)
        stage = self.plan.pixels.resized(height, width)
        if source is not None:
            window = source if whole else Window(self.kernels, source.values(), down, across)
            return self._run(stage).rows_from(window)
        if not whole:
            latents = self.kernels.crop(latents[:, down.low : down.high], across.low, across.high)
        # Tiles share nothing here: each has its own run, and so its own moments.
        return self._run(stage, {}).rows(latents)

    def _run(self, stage: Stage, affines: dict[int, Affine] | None = None) -> Run[Any]:
        on_read = partial(self.on_read, stage)
        shared = self._affines if affines is None else affines
        options = self.plan.case.chain, stage, self.kernels, self.weights, self.norms, self.spilled, on_read, shared
        if self.notes is not None:
            return SavedRun(self.notes, *options)
        return Run(*options, self.on_sampled)
