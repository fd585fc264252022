"""`Octaves`: which keys are kept, by whole numbers. Keys of one octave of importance are kept with one probability.

A key's importance is the largest share of its attention that any probe gives it, times the number of keys. From a
threshold on all keys are kept; one octave below it one in two, in the next one in four, and so on. So a kept key stands
for 2^octave keys, and the blocks of an octave have one gain. The members of an octave are counted in row order, so that
no bit depends on how the rows were split into bands.
"""

from __future__ import annotations

import math

import numpy as np

from zvae_tiled.engine.places import one_of_each
from zvae_tiled.planner.sampling import OCTAVES

FLOOR = 1e-3
"""The least importance: keys that no probe asks, but other queries may."""

_FRACTION = 19
"""Bits of a float32 below its class: what remains are 16 classes for each octave."""

_CLASSES = 1 << (32 - _FRACTION)
_EACH = 16


def classes_of(shares: np.ndarray, keys: int) -> np.ndarray:
    """Return the class of importance of each key, by the largest share it gets, of a map with so many keys."""
    importance = np.nan_to_num(shares.astype(np.float64) * keys, nan=np.inf, posinf=np.inf)
    bits = np.clip(importance, FLOOR, 1e30).astype(np.float32).view(np.uint32)
    return (bits >> np.uint32(_FRACTION)).astype(np.uint16)


class Octaves:
    """Chooses keys, block by block in row order."""

    def __init__(self, counts: np.ndarray, most: int) -> None:
        """Choose the threshold: the lowest one that keeps at most `most` keys.

        Args:
            counts: Keys of each class of importance.
            most: The most keys to keep, at least `LEAST_KEYS`.
        """
        present = np.flatnonzero(counts)
        threshold = int(present[0])
        while True:
            octave = np.clip(-((np.arange(len(counts)) - threshold) // _EACH), 0, OCTAVES)
            members = np.bincount(octave, weights=counts, minlength=1).astype(np.int64)
            kept = -(-members >> np.arange(len(members)))
            if kept.sum() <= most:
                break
            threshold += 1
        self._octave, self._members, self.kept = octave.astype(np.uint8), members, kept
        self._seen = np.zeros(len(members), np.int64)

    @property
    def order(self) -> list[int]:
        """The octaves with keys, the one with the most kept keys first."""
        return sorted(map(int, np.flatnonzero(self.kept)), key=lambda octave: (-self.kept[octave], octave))

    def gain(self, octave: int) -> float:
        """Return the logarithm of how many keys a kept key of an octave stands for."""
        return math.log(self._members[octave] / self.kept[octave])

    def choose(self, classes: np.ndarray) -> dict[int, np.ndarray]:
        """Return which of the next keys are kept, in each octave: one of every 2^octave members, in row order."""
        octaves, chosen = self._octave[classes], dict[int, np.ndarray]()
        for octave in map(int, np.unique(octaves)):
            places = np.flatnonzero(octaves == octave)
            ranks = self._seen[octave] + np.arange(len(places))
            self._seen[octave] += len(places)
            first = ranks >> octave << octave
            sizes = np.minimum(1 << octave, self._members[octave] - first)
            taken = places[ranks - first == one_of_each(sizes, 2 + octave, first >> octave)]
            if len(taken):
                chosen[octave] = taken
        return chosen


def counted(classes: np.ndarray) -> np.ndarray:
    """Return how many keys each class has."""
    return np.bincount(classes, minlength=_CLASSES)
