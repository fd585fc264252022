"""Checks that several public functions share: whole numbers, names, paths, keys. Also shortens values for errors."""

from __future__ import annotations

import operator
import os
import reprlib
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from zvae_tiled.errors import InputError, PlanError
from zvae_tiled.wording import listed


def whole(value: Any) -> int | None:
    """Return a value as an int; None if it is not a whole number, or is a bool."""
    if isinstance(value, bool | np.bool_):  # NumPy 2.0 takes its own for an index
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of the allowed names.

    Raises:
        PlanError: It is not. The error lists the allowed names.
    """
    if not isinstance(value, str) or value not in allowed:
        raise PlanError(f"{name} must be one of {', '.join(allowed)}, it is {shown(value)}", nearest(value, allowed))


def nearest(value: object, names: Iterable[str]) -> str:
    """Return "Did you mean …?" with the name that is written most like a value; empty if none is like it."""
    lower = {name.lower(): name for name in names}
    near = get_close_matches(str(value)[:MOST_LETTERS].lower(), lower, 1, 0.5) if isinstance(value, str) else []
    return f"Did you mean {lower[near[0]]}?" if near else ""


def is_count(value: Any) -> bool:
    """Return whether a value is an int of at least 0, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class TwiceError(ValueError):
    """An object of JSON has a key more than once. The message says which."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON with each key once: `json.loads` calls it as its ``object_pairs_hook``.

    Python alone takes the last of several values, and another reader may take the first.

    Raises:
        TwiceError: A key is there more than once.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = sorted(key for key, count in counts.items() if count > 1)
        raise TwiceError(f"{listed(map(repr, twice))} appears more than once")
    return values


def path_of(value: Any, what: str) -> Path:
    """Return a value as a `Path`.

    Raises:
        InputError: It is not a path.
    """
    if not isinstance(value, str | os.PathLike) or not _is_name(os.fspath(value)):
        raise InputError(f"{what} must be a path, it is {shown(value)}")
    return Path(value)


def _is_name(path: str | bytes) -> bool:
    """Return whether the system can be asked for a path: it is text that can be encoded, without a NUL."""
    try:
        return isinstance(path, str) and path != "" and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def truth(name: str, value: object) -> bool:
    """Return whether a value is true.

    Raises:
        InputError: It is neither, such as an array.
    """
    try:
        return bool(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be True or False, it is {shown(value)}") from None


MOST_LETTERS = 80
"""The most letters of a value that an error shows."""

LONGEST, MANY_DIGITS = 1 << 200, "a number of more than 60 digits"
"""The largest whole number that an error shows, and what it says of others."""


def shown(value: object) -> str:
    """Return a short text for a value in an error: the value in a line, or what kind of thing it is."""
    if isinstance(value, int) and abs(value) > LONGEST:
        return MANY_DIGITS
    text = _shortening().repr(value)
    if "\n" in text or (len(text) > MOST_LETTERS and not isinstance(value, str | list | tuple | dict)):
        return a_kind(value)
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 3] + "..."


class _Short(reprlib.Repr):
    """Shortens whole numbers in lists too: those of thousands of digits, which Python refuses to write."""

    def repr_int(self, x: int, level: int) -> str:
        """Return a number of at most 60 digits as it is."""
        return repr(x) if abs(x) <= LONGEST else MANY_DIGITS


def _shortening() -> reprlib.Repr:
    """Return what writes a long list without writing all of it."""
    short = _Short()
    short.maxstring, short.maxother = MOST_LETTERS, 10 * MOST_LETTERS
    short.maxtuple = short.maxlist = short.maxdict = 12
    return short


def a_kind(value: object) -> str:
    """Return the type of a value in words: "a dict", "an AutoencoderKL"."""
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeio' else 'a'} {name}"
