"""Freed memory that the C library keeps, given back before it takes the process beyond what was predicted.

glibc keeps freed blocks for later ones. Where strips of one map follow those of another, many of them fit nothing that
comes, and the process outgrows what is in use: by a fifth in some decodes. `malloc_trim` gives free pages back to
the system. It is called only where the next block could pass the limit, because pages that come back cost time.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

SMALL = 1 << 16
"""Bytes of a block for which nobody looks: looking takes as long as filling it."""

STEP = 1 << 20
"""Bytes the process must grow by before memory is given back again, where that was not enough: the rest is in use."""


def _trimmer() -> Callable[[int], int] | None:
    """Return glibc's `malloc_trim`; None where the C library is another."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


_trim = _trimmer()


class Ceiling:
    """How far this process may grow from when it is first under the ceiling."""

    def __init__(self, growth: int) -> None:
        """Allow this many bytes."""
        self._process = psutil.Process()
        self._growth = growth
        self._limit: int | None = None

    def begin(self) -> None:
        """Count from now on, unless it counts already; what was freed before is given back first."""
        if self._limit is None:
            if _trim is not None:
                _trim(0)
            self._limit = self._resident() + self._growth

    def make_room(self, size: int) -> None:
        """Give free memory back if a block of this many bytes could pass the limit."""
        if _trim is None or self._limit is None or self._resident() + size <= self._limit:
            return
        _trim(0)
        self._limit = max(self._limit, self._resident() + size + STEP)

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)


_ceiling: Ceiling | None = None
"""That of the decode that runs: there is one at a time."""


@contextmanager
def under(ceiling: Ceiling) -> Iterator[None]:
    """Keep the process under a ceiling."""
    global _ceiling
    before, _ceiling = _ceiling, ceiling
    ceiling.begin()
    try:
        yield
    finally:
        _ceiling = before


def make_room(size: int) -> None:
    """Give free memory back if a block of this many bytes could pass the ceiling of the decode that runs."""
    if _ceiling is not None and size >= SMALL:
        _ceiling.make_room(size)
