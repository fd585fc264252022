"""Which pixels of a map ask the attention's keys, and which of these test the sample: by their numbers alone."""

from __future__ import annotations

import numpy as np

from zvae_tiled.planner.sampled import TESTS, asked_rows

_STEP, _FIRST, _SECOND = (np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def scattered(numbers: np.ndarray, salt: int) -> np.ndarray:
    """Return a whole number for each number that looks random, always the same (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        mixed = (numbers.astype(np.uint64) + np.uint64(salt) + np.uint64(1)) * _STEP
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray(mixed)


def one_of_each(sizes: np.ndarray, salt: int, groups: np.ndarray) -> np.ndarray:
    """Return the place of one member of each group. Equal groups of one salt always give the same place."""
    places: np.ndarray = (scattered(groups, salt) % sizes.astype(np.uint64)).astype(np.int64)
    return places


def asked_pixels(height: int, width: int) -> np.ndarray:
    """Return the pixels that ask, in row order: one in each of many equal parts of the map."""
    pixels, count = height * width, asked_rows(height, width) * width
    number = np.arange(count + 1, dtype=np.int64)
    starts = number * (pixels // count) + number * (pixels % count) // count
    return np.asarray(starts[:-1] + one_of_each(np.diff(starts), 0, number[:-1]))


def judges(count: int) -> np.ndarray:
    """Return, for each of `count` queries, whether it tests the sample: one in each `TESTS` of them."""
    first = np.arange(0, count, TESTS)
    chosen = np.zeros(count, bool)
    chosen[first + one_of_each(np.minimum(TESTS, count - first), 1, first)] = True
    return chosen
