"""Speeds are found again from the times that they give, and the better ones are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.speeds import speeds
from zvae_tiled.devices.speeds import NO_LIMIT, Speeds, fitted
from zvae_tiled.planner.better import listed
from zvae_tiled.planner.calibration import Calibration

SPEED = st.floats(1e6, 1e13)
WORK = st.lists(st.tuples(st.floats(1e6, 1e12), st.floats(1e4, 1e10)), min_size=2, max_size=12)


@given(SPEED, SPEED, WORK)
def test_times_of_two_speeds_give_these_speeds(flops: float, moved: float, works: list[tuple[float, float]]) -> None:
    timed = [(work, size, work / flops + size / moved) for work, size in works]
    found = fitted(timed)
    for work, size, seconds in timed:
        assert work / found[0] + size / found[1] == pytest.approx(seconds, rel=1e-3)


@given(st.lists(st.tuples(st.floats(1e6, 1e12), st.floats(1e4, 1e10), st.floats(1e-5, 10)), min_size=1, max_size=12))
def test_any_times_give_speeds_that_a_file_may_contain(timed: list[tuple[float, float, float]]) -> None:
    flops, maps = fitted(timed)
    assert 0 < flops <= NO_LIMIT
    assert 0 < maps <= NO_LIMIT
    assert min(flops, maps) < NO_LIMIT


def test_a_step_with_little_work_counts_as_much_as_one_with_much() -> None:
    """One of the two took twice its time, so both predictions are off by the same factor."""
    flops, maps = fitted([(1e9, 1.0, 1.0), (1e6, 1e-3, 2e-3)])
    seconds = 1e9 / flops + 1.0 / maps
    assert seconds == pytest.approx(1.2, rel=1e-3), "the least squares of relative errors"


def test_the_better_of_two_keeps_the_two_speeds_of_a_convolution_together() -> None:
    one, other = Speeds(4e11, 1e9, 3e11, 5e9, 2e9), Speeds(2e11, 9e9, 2e11, 6e9, 1e9)
    assert one.better(other) == other.better(one) == Speeds(2e11, 9e9, 3e11, 6e9, 2e9)
    assert speeds().better(speeds()) == speeds()


def test_a_speed_that_takes_no_time_is_said_in_words() -> None:
    one = replace(speeds(), convolutions=NO_LIMIT)
    told = listed(Calibration("cuda", "a card", "0.32", 1.0, one, replace(one, maps=NO_LIMIT, convolutions=1e13), 2e9))
    assert "bfloat16: convolutions in the time of their maps, " in told[0]
    assert "float32: 1e+04 GFLOP/s in convolutions, maps in the time of their convolutions, " in told[1]
