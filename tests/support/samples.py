"""Less of everything for the default run, which has five minutes; all of it in a run that explores."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import hypothesis
import pytest

Seeds = Callable[[int], list[int]]
"""The type of the fixture `seeds`."""


def examples(count: int, **more: Any) -> hypothesis.settings:
    """Try `count` examples of a property in the default run, ten times as many in a run that explores."""
    loaded = hypothesis.settings()
    return hypothesis.settings(max_examples=count * loaded.max_examples // 100, **more)


def sampled(every: int, *axes: Any) -> list[Any]:
    """All combinations of these values, all but every so-manieth marked slow.

    `every` has no divisor in common with the length of any axis: so the sample holds each of its values.
    """
    combinations = [pytest.param(*values) for values in product(*axes)]
    return [
        pytest.param(*each.values, marks=() if i % every == 0 else pytest.mark.slow)
        for i, each in enumerate(combinations)
    ]
