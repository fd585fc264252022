"""Times work by the processor time of the thread that runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

ROUNDS = 7

Seconds = Callable[[], float]
"""Runs some work once, and returns the seconds it took."""


def seconds_of(work: Callable[[], object]) -> float:
    """Run work once. Return the processor time of this thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def best_in_turn(works: Mapping[str, Seconds]) -> dict[str, float]:
    """Run all work in turn, round by round. Return the best time of each."""
    times = [{name: work() for name, work in works.items()} for _ in range(ROUNDS)]
    return {name: min(each[name] for each in times) for name in works}
