"""Checks that many doors share: whole numbers, names of a list, paths; and how an error shows a value."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

from zvae_tiled.errors import InputError, PlanError


def whole(value: Any) -> int | None:
    """Return a value as a whole number; None if it is none, or a bool."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a name that is not one of those known.

    Raises:
        PlanError: With the names that are known.
    """
    if not isinstance(value, str) or value not in known:
        raise PlanError(f"{name} must be one of {', '.join(known)}, it is {shown(value)}")


def is_count(value: Any) -> bool:
    """Tell whether a value is a whole number of Python's, from 0 on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def path_of(value: Any, what: str) -> Path:
    """Read a path.

    Raises:
        InputError: It is none.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value) or "\0" in str(os.fspath(value)):
        raise InputError(f"{what} must be a path, it is {value!r}")
    return Path(value)


def shown(value: object) -> str:
    """Return a value as an error shows it."""
    if isinstance(value, int) and abs(value) > 1 << 200:  # Python refuses to write numbers of thousands of digits
        return "a number of more than 60 digits"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
