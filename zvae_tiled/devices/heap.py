"""Returns freed memory to the system before the process outgrows its prediction.

Native kernels keep the pages of freed maps for the next ones (`devices/slabs.py`). They are returned first.

glibc keeps freed blocks for later use. When strips of one map follow those of another, many freed blocks fit no later
strip, and the process grows beyond the memory in use: by a fifth in some decodes. `malloc_trim` returns free pages to
the system. It is called only if the next block could pass the limit, because it takes time to get pages back.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

SMALL = 1 << 16
"""Smaller blocks are not checked, because a check takes as long as filling such a block."""

STEP = 1 << 20
"""Bytes by which the limit is raised if trimming was not enough, because the rest of the memory is in use."""


def _trimmer() -> Callable[[int], int] | None:
    """Return glibc's `malloc_trim`; None with another C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


_trim = _trimmer()

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Ceiling:
    """A limit on how much this process may grow, counted from the first `begin`."""

    def __init__(self, growth: int) -> None:
        """Allow this many bytes."""
        self._growth = growth
        self._limit: int | None = None

    def begin(self) -> None:
        """Return freed memory to the system, and count from here. Later calls do nothing."""
        if self._limit is None and _trim is not None:
            _release()
            _trim(0)
            self._limit = _resident() + self._growth

    def make_room(self, size: int) -> None:
        """Return free memory to the system if a block of `size` bytes could pass the limit."""
        if _trim is None or self._limit is None or _resident() + size <= self._limit:
            return
        _release()
        if _resident() + size <= self._limit:
            return
        _trim(0)
        self._limit = max(self._limit, _resident() + size + STEP)


def _resident() -> int:
    """Return the bytes of memory that this process holds. It is asked for thousands of times in a decode."""
    handle = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(handle, 100).split()[1]) * _PAGE
    finally:
        os.close(handle)


_ceiling: Ceiling | None = None
"""The ceiling of the running decode. Only one decode runs at a time."""


_hoards: list[Callable[[], None]] = []


def on_shortage(release: Callable[[], None]) -> None:
    """Let `release` free what is kept for later use, when memory is short and when a decode ends."""
    _hoards.append(release)


def may_hoard() -> bool:
    """Return whether freed memory may be kept for later use: while a ceiling can ask for it back."""
    return _ceiling is not None and _trim is not None


def _release() -> None:
    for release in _hoards:
        release()


@contextmanager
def under(ceiling: Ceiling) -> Iterator[None]:
    """Apply a ceiling while the block runs. Never yield inside: a generator may be closed at any moment."""
    global _ceiling
    before, _ceiling = _ceiling, ceiling
    try:
        ceiling.begin()
        yield
    finally:
        _ceiling = before
        _release()


def unlimited() -> AbstractContextManager[None]:
    """Return a context in which freed memory is kept as in a decode. Kernels are timed in it."""
    return under(Ceiling(1 << 60))


def make_room(size: int) -> None:
    """Return free memory to the system if a block of `size` bytes could pass the ceiling of the running decode.

    Raises:
        MemoryError: The system refuses so many bytes. MLX would not notice that on a CPU, and crash.
    """
    if _ceiling is not None and size >= SMALL:
        _ceiling.make_room(size)
        _ask_for(size)


def _ask_for(size: int) -> None:
    """Reserve so many bytes, and give them back. No page of them is used."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryError(f"{size:,} bytes cannot be had: {error.strerror}") from error
