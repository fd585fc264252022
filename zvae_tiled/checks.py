"""Whole numbers as people have them: Python's, NumPy's, and whatever else can be an index."""

from __future__ import annotations

import operator
from typing import Any


def whole(value: Any) -> int | None:
    """Return a value as a whole number; None if it is none, or a bool."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
