"""Each level of a pyramid is the 2x2 mean of the one above, whatever the size, the type and the bands."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.sinks.cases import NOTES, Picture
from tests.sinks.readers import read_pyramid
from zvae_tiled.sinks.halving import halved
from zvae_tiled.sinks.kinds import KINDS

Pixels = np.ndarray[Any, np.dtype[Any]]


def mean_of_four(pixels: Pixels) -> Pixels:
    """The 2x2 means in float64: of whole numbers rounded, halves up. An odd side repeats its last row or column."""
    height, width, channels = pixels.shape
    even = np.pad(pixels.astype(np.float64), ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    means: Pixels = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, channels).mean(axis=(1, 3))
    whole: Pixels = np.floor(means + 0.5).astype(pixels.dtype)
    return means if pixels.dtype.kind == "f" else whole


def check_levels(levels: list[Pixels]) -> None:
    for above, below in pairwise(levels):
        assert below.dtype == above.dtype
        if above.dtype.kind == "f":
            np.testing.assert_allclose(below, mean_of_four(above), rtol=3e-7)
        else:
            assert np.array_equal(below, mean_of_four(above))


@pytest.mark.parametrize("bits", KINDS[".ptif"].bits)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.sample(5)
def test_levels_are_means_down_to_one_tile(bits: int, seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    height, width = (rng.choice([1, 255, 256, 257, 511, 513, rng.randint(1, 700)]) for _ in range(2))
    shape = height, width, rng.choice([1, 2, 3, 4])
    bands, left = [], height
    while left:
        bands.append(rng.randint(1, left))
        left -= bands[-1]
    picture = Picture(np.random.default_rng(seed).random(shape, np.float32), bands, ".ptif", bits)
    levels = read_pyramid(picture.write(tmp_path))
    assert np.array_equal(levels[0], picture.stored)
    assert [level.shape for level in levels[1:]] == [mean_of_four(level).shape for level in levels[:-1]]
    assert max(levels[-1].shape[:2]) <= 256
    assert all(max(level.shape[:2]) > 256 for level in levels[:-1])
    check_levels(levels)
    target = picture.target(tmp_path)
    assert target.paths[0].stat().st_size <= target.needed + sum(map(len, str(NOTES))) * 2


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_no_mean_overflows(dtype: str) -> None:
    most = np.float32(1) if dtype == "f4" else np.iinfo(dtype).max
    white = np.full((5, 7, 3), most, dtype)
    assert np.array_equal(halved(white), white[:3, :4])


def test_halves_are_rounded_up() -> None:
    for values, mean in (((0, 0, 0, 1), 0), ((0, 0, 1, 1), 1), ((0, 1, 1, 1), 1), ((254, 255, 255, 255), 255)):
        assert halved(np.array(values, np.uint8).reshape(2, 2, 1)).item() == mean
