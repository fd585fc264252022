"""`KeptKeys`: the keys of a sample, stored octave by octave, so that all keys of a block have one gain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat

import numpy as np

from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.engine.bands import Bands, RowQueue
from zvae_tiled.engine.keys import Keys
from zvae_tiled.engine.octaves import Octaves
from zvae_tiled.planner.sampling import STRIP


class KeptKeys(Keys[T]):
    """Kept keys and values. They are stored as a map of one column for each octave."""

    def __init__(self, kernels: Kernels[T], octaves: Octaves, make: Callable[[], Bands[T]], block: int) -> None:
        """Begin with no keys.

        Args:
            kernels: The device.
            octaves: Chooses the keys.
            make: Makes a place to store the keys of an octave in.
            block: Keys of a block.
        """
        self._kernels, self._octaves, self._block = kernels, octaves, block
        self._bands = {octave: make() for octave in octaves.order}
        self._waiting: dict[int, RowQueue[T]] = {octave: RowQueue(kernels) for octave in octaves.order}

    @property
    def count(self) -> int:
        """How many keys are kept."""
        return int(self._octaves.kept.sum())

    def add(self, keys: T, classes: np.ndarray) -> None:
        """Keep some of the next keys, by their classes of importance."""
        for octave, places in self._octaves.choose(classes).items():
            queue = self._waiting[octave]
            queue.push(self._kernels.pick(keys, places, 1))
            if queue.rows >= STRIP:
                self._bands[octave].append(queue.take(queue.rows))

    def finish(self) -> None:
        """Store the keys that still wait."""
        for octave, queue in self._waiting.items():
            if queue.rows:
                self._bands[octave].append(queue.take(queue.rows))

    def blocks(self) -> Iterator[T]:
        """Yield the blocks, octave by octave."""
        return chain.from_iterable(bands.read(self._block, release=False) for bands in self._bands.values())

    def gains(self) -> Iterator[float]:
        """Yield the gain of each block."""
        for octave in self._bands:
            yield from repeat(self._octaves.gain(octave), -(-int(self._octaves.kept[octave]) // self._block))

    def close(self) -> None:
        """Free them."""
        for bands in self._bands.values():
            bands.close()
