"""`VideoRun`: runs a plan for a video, frame by frame.

Where a frame becomes two, the map before that is stored, and the segment behind runs over it twice. So frames are
finished in their order, and each causal convolution sees them in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Generic, cast

import numpy as np

from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.engine.bands import Band, RamBands, Store
from zvae_tiled.engine.carried import Carried, DiskPlane, Plane, RamPlane
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill import DiskBands
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.planner.video import VideoPlan, source_name


class VideoRun(Generic[T]):
    """Runs a plan for a video."""

    def __init__(
        self,
        plan: VideoPlan,
        kernels: Kernels[T],
        weights: Mapping[str, T],
        norms: Mapping[str, np.ndarray],
        folder: Path,
    ) -> None:
        """Keep the arguments; `rows` runs the plan.

        Args:
            plan: The plan.
            kernels: The device.
            weights: Parameters of the model, by path.
            norms: Weights of the model's norms, as NumPy arrays.
            folder: Folder for spilled maps.
        """
        self._plan = plan
        self._kernels = kernels
        self._weights = weights
        self._norms = norms
        self._spilled = SpillFile(folder)
        self._carried: dict[str, Carried[T]] = {}
        self._frame = 0

    def rows(self, ready: Callable[[int], T]) -> Iterator[tuple[int, T]]:
        """Yield the number of a frame, and its next finished rows.

        Closing the iterator early frees all memory and all disk space.

        Args:
            ready: Returns the latents of a frame (1, h, w, channels), ready for the first Step.
        """
        with ExitStack() as stack:
            stack.callback(self._spilled.discard)
            for number, segment in enumerate(self._plan.segments):
                for name, (step, scale) in segment.causal.items():
                    stage = self._plan.later[number]
                    shape = stage.width * scale, step.outputs
                    self._carried[name] = Carried(self._plane(name, *shape), self._plane(name, *shape))
                    stack.callback(self._carried[name].close)
            for number in range(self._plan.case.batch):
                (run,) = self._runs(0, first=number == 0)
                yield from self._behind(0, run.rows(ready(number)), first=number == 0)

    def _runs(self, number: int, first: bool) -> Iterator[Run[T]]:
        """Return the runs of a segment for one frame of its input: one, or two that each make a frame of it."""
        segment, stages = self._plan.segments[number], self._plan.first if first else self._plan.later
        options = self._kernels, self._weights, self._norms, self._spilled
        return (
            Run(chain, stages[number], *options, carried=self._carried)
            for chain in ((segment.first,) if first else segment.later)
        )

    def _behind(self, number: int, rows: Iterator[T], first: bool) -> Iterator[tuple[int, T]]:
        """Yield the rows of a segment, if it is the last; else store them, and run the segments behind it."""
        following = number + 1
        with closing(cast(Any, rows)):
            if following == len(self._plan.segments):
                # `map`, not a generator: a generator's variables would keep rows in memory while later ones are made.
                yield from map(partial(_numbered, self._frame), rows)
                self._frame += 1
                return
            stored = self._source(following)
            try:
                for band in rows:
                    stored.append(Band(band))
                    del band
                for run in self._runs(following, first):
                    yield from self._behind(following, run.rows_from(stored), first)
            finally:
                stored.close()

    def _source(self, number: int) -> Store[T]:
        """Return the place of the map that a segment begins with."""
        if source_name(number) not in self._plan.on_disk:
            return Store(self._kernels, RamBands(self._kernels), [])
        stage, channels = self._plan.later[number], self._plan.segments[number].first.channels[0]
        bands = DiskBands(self._kernels, self._spilled, stage.width, channels)
        return Store(self._kernels, bands, [])

    def _plane(self, name: str, width: int, channels: int) -> Plane[T]:
        if name not in self._plan.on_disk:
            return RamPlane(self._kernels)
        return DiskPlane(self._kernels, self._spilled, width, channels)


def _numbered(frame: int, rows: T) -> tuple[int, T]:
    return frame, rows
