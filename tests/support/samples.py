"""Samples for the default run, which may take five minutes. A run that selects slow tests tries everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hypothesis
import pytest

Seeds = Callable[[int], list[int]]
"""The type of the fixture `seeds`."""


def examples(count: int, **more: Any) -> hypothesis.settings:
    """Try a tenth of `count` examples of a property in the default run, ten times `count` in a run that explores."""
    loaded = hypothesis.settings()
    return hypothesis.settings(max_examples=max(1, count * loaded.max_examples // 100), **more)


def mark_samples(items: Iterable[pytest.Item]) -> None:
    """Mark the cases of a test with `@pytest.mark.sample(nth)` slow, but for one of `nth`: see `spread`."""
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sample") and not item.get_closest_marker("slow"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        kept = spread([_values(case) for case in cases], next(cases[0].iter_markers("sample")).args[0])
        for number in set(range(len(cases))) - kept:
            cases[number].add_marker("slow")


def spread(cases: Sequence[Iterable[Any]], nth: int) -> set[int]:
    """Return the numbers of one of `nth` cases, in which as many values of each axis occur as can be.

    The next one is that with most new values, then with the rarest, then one whose number `nth` divides.
    """
    kept: set[int] = set()
    tried: Counter[Any] = Counter()

    def gain(number: int) -> tuple[int, int, bool]:
        counts = [tried[value] for value in cases[number]]
        return counts.count(0), -sum(counts), number % nth == 0

    while len(kept) * nth < len(cases):
        best = max((number for number in range(len(cases)) if number not in kept), key=gain)
        tried.update(cases[best])
        kept.add(best)
    return kept


def _values(case: pytest.Item) -> list[tuple[str, str]]:
    return [(name, repr(value)) for name, value in case.callspec.params.items()]  # type: ignore[attr-defined]
