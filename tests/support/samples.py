"""Samples for the default run, which may take five minutes. A run that selects slow tests tries everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import hypothesis
import pytest

Seeds = Callable[[int], list[int]]
"""The type of the fixture `seeds`."""


def examples(count: int, **more: Any) -> hypothesis.settings:
    """Try a tenth of `count` examples of a property in the default run, ten times `count` in a run that explores."""
    loaded = hypothesis.settings()
    return hypothesis.settings(max_examples=max(1, count * loaded.max_examples // 100), **more)


def every(nth: int, cases: Iterable[Sequence[Any]]) -> list[Any]:
    """Return all cases; those whose number `nth` does not divide are marked slow."""
    return [pytest.param(*case, marks=() if i % nth == 0 else pytest.mark.slow) for i, case in enumerate(cases)]


def sampled(nth: int, *axes: Any) -> list[Any]:
    """Return all combinations of the axes' values; those whose number `nth` does not divide are marked slow.

    A smaller `nth` is taken where the sample would miss a value: some axes are longer on some machines.
    """
    combinations = list(product(*axes))
    while any(
        set(values) != set(seen) for values, seen in zip(axes, zip(*combinations[::nth], strict=True), strict=True)
    ):
        nth -= 1
    return every(nth, combinations)


def mark_samples(items: Iterable[pytest.Item]) -> None:
    """Mark the cases of a test with `@pytest.mark.sample(nth)` slow, but for those whose number `nth` divides."""
    numbers: Counter[str] = Counter()
    for item in items:
        if (sample := item.get_closest_marker("sample")) and not item.get_closest_marker("slow"):
            test = item.nodeid.partition("[")[0]
            if numbers[test] % sample.args[0]:
                item.add_marker("slow")
            numbers[test] += 1
