"""Decoding in tiles or in one sweep: the middle block once, statistics once, then window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.engine.blend import Blender
from zvae_tiled.engine.proxy import shrunk
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.window import Window
from zvae_tiled.kernels.base import Affine, Kernels
from zvae_tiled.plan.grid import Span
from zvae_tiled.plan.plan import Plan
from zvae_tiled.plan.quality import QualityPlan


@dataclass
class QualityRun:
    """One picture on its way through a `QualityPlan`.

    Attributes:
        plan: The plan.
        kernels: The device.
        weights: Parameters of the model by their paths.
        norms: Weights and biases of its norms, as NumPy arrays.
        folder: Where maps are spilled.
        on_read: Called with a plan, a sweep's number and the rows of its start cut read so far.
    """

    plan: QualityPlan
    kernels: Kernels[mx.array]
    weights: Mapping[str, mx.array]
    norms: Mapping[str, np.ndarray]
    folder: Path
    on_read: Callable[[Plan, int, int], object]
    _affines: dict[int, Affine] = field(default_factory=dict)

    def rows(self, latents: mx.array) -> Iterator[mx.array]:
        """Decode latents (1, h, w, channels), ready for the first Step, into finished rows of raw values."""
        plan, scale = self.plan, self.plan.config.scale
        with ExitStack() as stack:
            source = self._middle(latents, stack)
            if len(plan.rows) == len(plan.columns) == 1:
                yield from self._tile(latents, source, plan.rows[0], plan.columns[0])
                return
            blender = Blender(plan.rows, plan.columns, scale, plan.config.out_channels, plan.request.ramp)
            for row, down in enumerate(plan.rows):
                blender.begin(row)
                for column, across in enumerate(plan.columns):
                    top = 0
                    for rows in self._tile(latents, source, down, across):
                        pixels = self.kernels.to_host(rows)
                        del rows
                        finished = blender.add(row, column, top, pixels)
                        top += len(pixels)
                        del pixels
                        if len(finished):
                            yield mx.array(finished[None])

    def _middle(self, latents: mx.array, stack: ExitStack) -> Any:
        """Run what looks at the whole map: the middle block, and the pass that gathers moments."""
        plan = self.plan
        if plan.middle is None or plan.statistics is None:
            return None
        source = self._run(plan.middle).stored(latents, stack)
        measured = source
        if plan.factors != (1, 1):
            channels = plan.pixels.chain.channels[plan.pixels.stage.start]
            measured = shrunk(self.kernels, source, plan.factors, (plan.height, plan.width), channels)
            stack.callback(measured.close)
        self._run(plan.statistics).moments_from(measured)
        if measured is not source:
            measured.close()
        return source

    def _tile(self, latents: mx.array, source: Any, down: Span, across: Span) -> Iterator[mx.array]:
        plan = self.plan.pixels.resized(down.high - down.low, across.high - across.low)
        if source is None:
            # Nothing of another tile is used: each has a run of its own, and so moments of its own.
            own = Run(plan, self.kernels, self.weights, self.norms, self.folder, partial(self.on_read, plan))
            return own.rows(self.kernels.crop(latents[:, down.low : down.high], across.low, across.high))
        if plan.height == self.plan.height and plan.width == self.plan.width:
            return self._run(plan).rows_from(source)
        return self._run(plan).rows_from(Window(self.kernels, source.values(), down, across))

    def _run(self, plan: Plan) -> Run[mx.array]:
        on_read = partial(self.on_read, plan)
        return Run(plan, self.kernels, self.weights, self.norms, self.folder, on_read, self._affines)
