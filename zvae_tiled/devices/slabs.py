"""Large blocks of memory, cut from larger reservations (slabs): freed pages are used again for blocks of any size.

The system takes long to hand out pages. In a decode of 1024×1024, 1.6 times as many were new when each block had a
mapping of its own.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import NamedTuple

import numpy as np

SLAB = 256 << 20 if sys.platform == "linux" else 0
"""Bytes of a slab, at least. They take no memory before they are written.

Only Linux drops pages when it is told that they are not needed. Elsewhere each block has a slab of its own.
"""

PAGE = mmap.PAGESIZE

_HUGE = getattr(mmap, "MADV_HUGEPAGE", None)


class _Run(NamedTuple):
    """Free bytes that follow one another. New ones have no pages yet."""

    start: int
    stop: int
    new: bool


class _Slab:
    def __init__(self, size: int) -> None:
        self.pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if _HUGE is not None:
            with suppress(OSError):  # a kernel without them
                self.pages.madvise(_HUGE)
        self.size = size
        self.runs = [_Run(0, size, True)]

    def take(self, size: int) -> tuple[int, int] | None:
        """Take the first free bytes that suffice. Return where they begin, and how many of them are new."""
        first = 0
        for i, run in enumerate(self.runs):
            if i and run.start != self.runs[i - 1].stop:
                first = i
            start = self.runs[first].start
            if run.stop - start >= size:
                taken, end = self.runs[first : i + 1], start + size
                rest = [_Run(end, run.stop, run.new)] if run.stop > end else []
                self.runs[first : i + 1] = rest
                return start, sum(min(each.stop, end) - each.start for each in taken if each.new)
        return None

    def give(self, start: int, stop: int, new: bool = False) -> None:
        """Take bytes back."""
        self.runs = _joined([*self.runs, _Run(start, stop, new)])  # at once: Ctrl-C may come at any moment

    def release(self) -> None:
        """Return the pages of free bytes to the system."""
        if sys.platform != "linux" or self.free:  # a free slab is returned as a whole
            return
        for run in self.runs:  # new ones too: a huge page may begin in the block before
            self.pages.madvise(mmap.MADV_DONTNEED, run.start, run.stop - run.start)
        self.runs = _joined([run._replace(new=True) for run in self.runs])

    @property
    def free(self) -> bool:
        """Whether no block lies in it."""
        return sum(run.stop - run.start for run in self.runs) == self.size


def _joined(runs: list[_Run]) -> list[_Run]:
    """Return the runs in order, and those that follow one another as one."""
    joined: list[_Run] = []
    for run in sorted(runs):
        if joined and joined[-1].stop == run.start and joined[-1].new == run.new:
            joined[-1] = _Run(joined[-1].start, run.stop, run.new)
        else:
            joined.append(run)
    return joined


class Place(NamedTuple):
    """Where a block lies."""

    slab: _Slab
    start: int
    stop: int


class Slabs:
    """All slabs of the process."""

    def __init__(self) -> None:
        self._slabs: list[_Slab] = []

    def take(self, size: int) -> tuple[np.ndarray, Place, int]:
        """Return a block, where it lies, and how many of its bytes are new pages."""
        whole = -(-size // PAGE) * PAGE
        for slab in self._slabs:
            if (found := slab.take(whole)) is not None:
                return self._block(slab, *found, size, whole)
        slab = _reserved(whole)
        self._slabs.append(slab)
        found = slab.take(whole)
        assert found is not None
        return self._block(slab, *found, size, whole)

    def _block(self, slab: _Slab, start: int, new: int, size: int, whole: int) -> tuple[np.ndarray, Place, int]:
        return np.frombuffer(slab.pages, np.uint8, size, start), Place(slab, start, start + whole), new

    def give(self, place: Place) -> None:
        """Take a block back. Its pages stay, for the next block."""
        place.slab.give(place.start, place.stop)

    def release(self) -> None:
        """Return the pages of free bytes to the system, and slabs that are free altogether."""
        for slab in self._slabs:
            slab.release()
        self._slabs = [slab for slab in self._slabs if not slab.free]


def _reserved(size: int) -> _Slab:
    """Return a new slab. Where little address space is left, it is as large as the block alone."""
    with suppress(OSError):
        return _Slab(max(SLAB, size))
    try:
        return _Slab(size)
    except OSError as error:
        raise MemoryError(f"{size:,} bytes for a map cannot be had: {error.strerror}") from error
