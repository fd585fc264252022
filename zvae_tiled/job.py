"""`Job`: one decode, or encode, that is checked and planned, and only has to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import mlx.core as mx

from zvae_tiled.config import VAEConfig
from zvae_tiled.decoding import ceiling_of, limits, parameters, temporary_folder
from zvae_tiled.decoding import norms as norms_of
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill import check_free_space
from zvae_tiled.heap import Ceiling, make_room
from zvae_tiled.kernels.base import Kernels
from zvae_tiled.model import DecoderOnly
from zvae_tiled.plan.plan import Plan
from zvae_tiled.plan.quality import QualityPlan
from zvae_tiled.progress import Listener, Tracker
from zvae_tiled.quality import QualityRun
from zvae_tiled.report import Meter, Report
from zvae_tiled.sinks import Sink


@dataclass(frozen=True)
class Job:
    """One decode, or encode, that is checked and planned, and only has to run.

    Attributes:
        model: The weights.
        kernels: The device, as it was when this was planned.
        given: What was handed in: a batch of latents, or of pictures, (B, H, W, C).
        plan: A plan for them.
        ready: Makes one of the batch ready for the first Step.
        finish: Makes finished rows of what the last Step gives.
        listener: Told how far it is.
        folder: Where maps are spilled; None for `temporary_folder`.
    """

    model: DecoderOnly
    kernels: Kernels[mx.array]
    given: mx.array
    plan: Plan | QualityPlan
    ready: Callable[[mx.array], mx.array]
    finish: Callable[[mx.array], mx.array]
    listener: Listener | None
    folder: Path | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, H, W, C) of the pictures."""
        return picture_shape(self.plan.config, self.given)

    def run(self, sink: Sink) -> Report:
        """Go through the plan into a sink, which is closed, or told to leave nothing behind."""
        try:
            with limits(self.plan, self._ceiling()):
                meter = Meter(self._held)
                for picture, rows in self._rows(meter.watching(self.listener)):
                    sink.write(picture, rows)
                    meter.host(sink.host_bytes)
                    del rows
                report = meter.report(self.plan)
            sink.close()
            return report
        except BaseException:  # Ctrl-C too
            sink.abort()
            raise

    def stream(self) -> Iterator[mx.array]:
        """Yield rows; the allocator is limited while a row is computed, and not while the caller has its turn."""
        rows, ceiling = self._rows(self.listener), self._ceiling()
        while True:
            with limits(self.plan, ceiling):
                found = [row for _, row in islice(rows, 1)]
            if not found:
                return
            yield found.pop()

    def _rows(self, listener: Listener | None) -> Iterator[tuple[int, mx.array]]:
        """Yield finished rows with the number of their picture, top to bottom."""
        plan, folder = self.plan, self.folder or temporary_folder()
        check_free_space(folder, plan.spilled)
        kernels = self.kernels
        weights = parameters(self.model)
        norms = norms_of(weights)
        tracker = Tracker(plan, listener)
        for picture in range(plan.batch):
            if isinstance(plan, Plan):
                read = partial(tracker.read, plan)
                found = Run(plan, kernels, weights, norms, folder, read).rows(self._ready(picture))
            else:
                found = QualityRun(plan, kernels, weights, norms, folder, tracker.read).rows(self._ready(picture))
            for rows in found:
                done = [self.finish(rows)]
                del rows
                yield picture, done.pop()
        tracker.finish()

    def _ceiling(self) -> Ceiling:
        return ceiling_of(self.plan, self._held)

    @property
    def _held(self) -> int:
        """Bytes of this decode that are there before it starts."""
        return sum(array.nbytes for array in parameters(self.model).values()) + self.given.nbytes

    def _ready(self, picture: int) -> mx.array:
        """Return one of the batch, ready for the first Step."""
        one = self.given[picture : picture + 1]
        make_room(2 * one.nbytes)
        return self.ready(one)


def picture_shape(config: VAEConfig, latents: mx.array) -> tuple[int, int, int, int]:
    """Return (B, H, W, C) of what these latents decode to."""
    batch, height, width, _ = latents.shape
    return batch, height * config.scale, width * config.scale, config.out_channels
