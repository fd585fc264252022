"""`Sampler`: samples the attention's keys in sweeps over the stored map, and measures the error of the sample.

One sweep gathers the queries. One answers them by all keys: that gives the sum of each query's weights, and the answers
that the sample is held to. One weighs all keys by the probes. One keeps some of them. Keys are computed in each sweep
anew, and handled in blocks that only the map's width sets, so that no bit depends on the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic

import numpy as np

from zvae_tiled.devices.kernels import Affine, Kernels, T
from zvae_tiled.devices.probes import Asked, Probes
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.engine.bands import Band, Bands, RowQueue
from zvae_tiled.engine.guard import Guard
from zvae_tiled.engine.kept import KeptKeys
from zvae_tiled.engine.octaves import Octaves, classes_of, counted
from zvae_tiled.engine.places import asked_pixels, judges
from zvae_tiled.engine.sample_error import SampleError
from zvae_tiled.planner.stage import Stage


class Sampler(Generic[T]):
    """Samples the keys of one attention."""

    def __init__(self, kernels: Kernels[T], stage: Stage) -> None:
        """Take the device, and the stage that runs the attention."""
        assert stage.sampled is not None
        self._kernels, self._most = kernels, stage.sampled
        self._width, self._pixels = stage.width, stage.height * stage.width
        self._rows = block_rows(stage.width)
        self._asked = asked_pixels(stage.height, stage.width)
        self._tests = judges(len(self._asked))
        self._at_queries: T
        self._exact: Asked
        self._classes = np.empty(0, np.uint16)
        self._counts = counted(self._classes)

    def gather(self, bands: Iterator[Band[T]]) -> None:
        """Gather the map at the queries."""
        pieces, first = [], 0
        for band in bands:
            x = band.take()
            stop = first + self._kernels.rows(x) * self._width
            low, high = np.searchsorted(self._asked, [first, stop])
            if low < high:
                pieces.append((self._kernels.pick(x, self._asked[low:high] - first, 1), 0, int(high - low)))
            first = stop
            del x
        joined = self._kernels.join(pieces)
        self._at_queries = self._kernels.pick(joined, np.arange(len(self._asked)), self._width)

    def answer(self, bands: Iterator[Band[T]], guard: Guard[T], affine: Affine) -> None:
        """Answer the queries by all keys."""
        self._exact = guard.asked(self._at_queries, affine, self._blocks(bands, guard, affine))

    def weigh(self, bands: Iterator[Band[T]], guard: Guard[T], affine: Affine) -> None:
        """Find the importance of each key."""
        weigh, first = guard.weigher(Probes.among(self._exact, ~self._tests)), 0
        self._classes = np.empty(self._pixels, np.uint16)
        for block in self._blocks(bands, guard, affine):
            found = classes_of(weigh(block), self._pixels)
            self._classes[first : first + len(found)] = found
            self._counts += counted(found)  # NumPy counts in eight bytes a key
            first += len(found)
            del block

    def keep(
        self, bands: Iterator[Band[T]], guard: Guard[T], affine: Affine, make: Callable[[], Bands[T]]
    ) -> tuple[KeptKeys[T], SampleError]:
        """Keep some of the keys, and measure the error that this makes."""
        octaves = Octaves(self._counts, self._most)
        kept, first = KeptKeys(self._kernels, octaves, make, self._rows * self._width), 0
        for block in self._blocks(bands, guard, affine):
            count = self._kernels.rows(block) * self._width
            kept.add(block, self._classes[first : first + count])
            first += count
            del block
        kept.finish()
        return kept, self._error(kept, guard, affine)

    def _error(self, kept: KeptKeys[T], guard: Guard[T], affine: Affine) -> SampleError:
        """Answer the queries by the kept keys, and compare the tests among them."""
        found = guard.asked(self._at_queries, affine, kept.blocks(), kept.gains()).answers
        exact, before = self._exact.answers, self._kernels.to_host(self._at_queries).reshape(found.shape)
        map_behind, tests = (before + exact)[self._tests], self._tests
        return SampleError.of(found[tests] - exact[tests], map_behind, kept.count, self._pixels)

    def _blocks(self, bands: Iterator[Band[T]], guard: Guard[T], affine: Affine) -> Iterator[T]:
        """Yield all keys and values in blocks."""
        queue = RowQueue(self._kernels)
        for band in bands:
            queue.push(guard.keys(band.take(), affine))
            while queue.rows >= self._rows:
                yield queue.take(self._rows)
            queue.shrink()
        if queue.rows:
            yield queue.take(queue.rows)
