"""Small questions about a request to Triton: its size, whether its client is there, and the code of its error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from zvae_tiled.checks import shown
from zvae_tiled.errors import BudgetError, InputError, LatentsError, OutputError


class GoneError(Exception):
    """The client no longer waits for its answer."""


def code_of(error: BaseException) -> str:
    """Return the name of Triton's code for an error."""
    if isinstance(error, InputError):
        return "INVALID_ARG"
    if isinstance(error, BudgetError | OutputError | MemoryError):
        return "UNAVAILABLE"  # Triton has no RESOURCE_EXHAUSTED
    return "CANCELLED" if isinstance(error, GoneError) else "INTERNAL"


def text_of(error: BaseException) -> str:
    """Return the message for the client, with the smallest budget that works if the budget was too small."""
    needed = f"\nThe smallest budget that works: {error.needed} bytes." if isinstance(error, BudgetError) else ""
    return (str(error) or type(error).__name__) + needed


def seldom(gone: Callable[[], bool], every: float = 1.0) -> Callable[[], bool]:
    """Return a `gone` that asks once in `every` seconds: a decode has hundreds of steps, and each question waits."""
    asked = time.monotonic()

    def asks() -> bool:
        nonlocal asked
        if time.monotonic() - asked < every:
            return False
        asked = time.monotonic()
        return gone()

    return asks


def one_size(sizes: list[Any]) -> tuple[int, int] | None:
    """Return the height and width of a request's pictures, from one pair or from a pair for each; None if none came."""
    pairs = {tuple(pair) for pair in (sizes if sizes and isinstance(sizes[0], list) else [sizes]) if pair}
    if len(pairs) > 1:
        raise LatentsError(f"size must be the same for all pictures of a request, it is {shown(sorted(pairs))}")
    return pairs.pop() if pairs else None
