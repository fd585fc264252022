"""`remembered`: a translation of names that keeps its answers, for a name is asked once for each known model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

NAMES = 4096
"""Answers that are kept."""

LETTERS = 100
"""The longest name that is kept. A hostile file may have one of megabytes, which would stay in memory."""

Translate = Callable[..., str]
"""Takes a name, and hashable arguments by position."""


def remembered(translate: Translate) -> Translate:
    """Return a translation that keeps its answers for short names."""
    kept = lru_cache(NAMES)(translate)

    def translated(name: str, *more: int) -> str:
        return (kept if len(name) <= LETTERS else translate)(name, *more)

    return translated
