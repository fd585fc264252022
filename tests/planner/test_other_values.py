"""A saved plan with one value replaced is refused with an error, or read as a plan whose numbers are whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.planner.saved import QUALITIES, SAVED
from zvae_tiled import read_plan
from zvae_tiled.errors import ZvaeError
from zvae_tiled.planner.stage import Sweep

PROXY = str(QUALITIES[4])

OTHERS: list[Any] = [True, None, "x", [], {}, -1, 0, 10**30, 1.5, [1], {"a": 1}, float("nan")]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a JSON value, and the value there."""
    yield path, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from places(child, (*path, key))


def replaced(text: str, path: tuple[Any, ...], other: Any) -> str:
    """The JSON with one value replaced."""
    whole = {"": json.loads(text)}
    *before, last = ("", *path)
    parent: Any = whole
    for key in before:
        parent = parent[key]
    parent[last] = other
    return json.dumps(whole[""])


def numbers(sweep: Sweep) -> list[Any]:
    return [sweep.start, sweep.stop, sweep.rows, *(() if sweep.store is None else (sweep.store,))]


@pytest.mark.slow
@pytest.mark.usefixtures("small_proxies")
@pytest.mark.parametrize("quality", ["exact", PROXY], ids=["exact", "proxy"])
def test_any_other_value_is_refused_or_is_no_harm(quality: str) -> None:
    text = SAVED[quality]
    refused = 0
    for number, (path, value) in enumerate(places(json.loads(text))):
        same = [float(value)] if type(value) is int else []  # equal, but no whole number
        for other in [*OTHERS[number % 4 :: 4], *same]:  # three each, and all of them in turn
            try:
                found = read_plan(replaced(text, path, other))
            except ZvaeError:
                refused += 1
                continue
            assert all(type(each) is int for sweep in found.sweeps for each in numbers(sweep)), (path, other)
            assert json.loads(found.to_json()), str(found)
    assert refused > 100
