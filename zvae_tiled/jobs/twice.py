"""Plans and runs a job once more if memory runs out: other programs took what was free when the plan was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zvae_tiled.errors import OutOfMemoryError
from zvae_tiled.families import Task
from zvae_tiled.report.log import log_shortage
from zvae_tiled.shortage import shortages

R = TypeVar("R")


def twice(attempt: Callable[[], R], left: Callable[[], str] | None, task: Task) -> R:
    """Return what `attempt` does, which plans and runs.

    Args:
        attempt: It leaves nothing behind when it fails.
        left: Called before the second attempt; returns how much memory is left, in words. None if there shall be none.
        task: What is attempted.

    Raises:
        OutOfMemoryError: Memory ran out; in both attempts, if there may be two.
    """
    doing = f"{task[:-1]}ing"
    try:
        with shortages(doing):
            return attempt()
    except OutOfMemoryError as error:
        if left is None:
            raise
        problem = error.problem
    # The error's frames held the memory of the first attempt. They are gone here.
    with shortages(doing):
        log_shortage(problem, left())  # to see what is left takes memory too
        return attempt()
