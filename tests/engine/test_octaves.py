"""Which keys are kept: never too many, each for as many as its octave says, and the same however rows are split."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.samples import examples
from zvae_tiled.engine.octaves import Octaves, classes_of, counted
from zvae_tiled.engine.places import asked_pixels, judges
from zvae_tiled.planner.sampled import LEAST_KEYS, TESTS, asked_rows

seeds = st.integers(0, 1 << 32)


def drawn(seed: int, keys: int) -> np.ndarray:
    """Classes of keys of which few are important, as in pictures."""
    rng = np.random.default_rng(seed)
    return classes_of(np.exp(rng.normal(0, rng.choice([0.1, 2, 6]), keys)) / keys, keys)


@given(seeds, st.integers(65, 5000), st.integers(LEAST_KEYS, 4000))
@examples(60)
def test_each_kept_key_stands_for_its_octave(seed: int, keys: int, most: int) -> None:
    classes = drawn(seed, keys)
    octaves = Octaves(counted(classes), most)
    chosen = octaves.choose(classes)
    assert sum(map(len, chosen.values())) == octaves.kept.sum() <= most
    assert sum(len(places) * math.exp(octaves.gain(octave)) for octave, places in chosen.items()) <= keys * (1 + 1e-9)
    least = {octave: classes[places].min() for octave, places in chosen.items()}
    assert all(least[a] > classes[chosen[b]].max() for a in least for b in least if a < b), "octaves overlap"
    assert set(chosen) == set(octaves.order)
    total = sum(octaves.kept[octave] * math.exp(octaves.gain(octave)) for octave in octaves.order)
    assert math.isclose(total, keys, rel_tol=1e-9)


@given(seeds, st.integers(65, 3000), st.lists(st.integers(1, 3000), max_size=8))
@examples(60)
def test_splits_change_no_choice(seed: int, keys: int, cuts: list[int]) -> None:
    classes = drawn(seed, keys)
    whole, parts = (Octaves(counted(classes), LEAST_KEYS) for _ in range(2))
    found: dict[int, list[int]] = {}
    edges = [0, *sorted(cut for cut in cuts if cut < keys), keys]
    for first, stop in pairwise(edges):
        for octave, places in parts.choose(classes[first:stop]).items():
            found.setdefault(octave, []).extend(first + places)
    assert found == {octave: list(places) for octave, places in whole.choose(classes).items()}


def test_a_larger_share_is_never_a_lower_class() -> None:
    shares = np.sort(np.r_[0, np.nan, np.inf, np.geomspace(1e-12, 1, 999)])
    assert (np.diff(classes_of(shares, 4096).astype(int)) >= 0).all()


@given(st.integers(1, 300), st.integers(1, 6000))
@examples(60)
def test_queries_are_distinct_and_in_row_order(height: int, width: int) -> None:
    asked = asked_pixels(height, width)
    assert len(asked) == asked_rows(height, width) * width
    assert 0 <= asked.min() <= asked.max() < height * width
    assert (np.diff(asked) > 0).all()
    tests = judges(len(asked))
    assert tests.sum() == -(-len(asked) // TESTS)
