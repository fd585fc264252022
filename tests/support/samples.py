"""Samples for the default run, which may take five minutes. A run that selects slow tests tries everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
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
    """Mark the cases of a test with `@pytest.mark.sample(nth)` slow, but for those whose number `nth` divides."""
    numbers: Counter[str] = Counter()
    for item in items:
        if (sample := item.get_closest_marker("sample")) and not item.get_closest_marker("slow"):
            test = item.nodeid.partition("[")[0]
            if numbers[test] % sample.args[0]:
                item.add_marker("slow")
            numbers[test] += 1
