"""Memory from NumPy that is counted like MLX's: native kernels keep their maps in it, and write them on all threads.

MLX fills new memory with zeros on one thread before a native call can write to it. Nothing fills this memory.
"""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections import deque
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.heap import SMALL, make_room, may_hoard, on_shortage

HUGE = 2 << 20
"""Bytes of a huge page. Blocks of at least two ask for them: the system hands them out in a tenth of the time."""

_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)


class _Block(weakref.ref[np.ndarray]):
    """A block that is in use, and the pages that it lies in, if it has its own."""

    size: int
    pages: mmap.mmap | None


class _Ledger:
    """Adds up the blocks in use. A block leaves when its last view is freed, in any thread and at any moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: dict[int, _Block] = {}
        self._freed: deque[_Block] = deque()
        self._idle: dict[int, list[mmap.mmap]] = {}
        self._live = self._least = self._peak = 0

    def add(self, memory: np.ndarray, pages: mmap.mmap | None = None) -> None:
        block = _Block(memory, self._freed.append)
        block.size, block.pages = memory.nbytes, pages
        with self._lock:
            self._settle()
            self._blocks[id(block)] = block
            self._live += block.size
            self._peak = max(self._peak, self._live + mx.get_active_memory())

    def idle_pages(self, size: int) -> mmap.mmap | None:
        """Return pages of a block of this size that was freed, if there are any."""
        with self._lock:
            self._settle()
            pages = self._idle.get(size)
            return pages.pop() if pages else None

    def release(self) -> None:
        """Give the pages of freed blocks back to the system."""
        with self._lock:
            self._settle()
            self._idle.clear()

    def active(self) -> int:
        with self._lock:
            self._settle()
            return self._live + mx.get_active_memory()

    def peak(self) -> int:
        """Return the most bytes in use since `reset`.

        While MLX's peak was reached, at least the fewest bytes of blocks were in use.
        """
        with self._lock:
            self._settle()
            return max(self._peak, self._least + mx.get_peak_memory())

    def reset(self) -> None:
        with self._lock:
            self._settle()
            self._peak, self._least = self._live + mx.get_active_memory(), self._live
            mx.reset_peak_memory()  # it stays 0 until MLX allocates

    def _settle(self) -> None:
        while self._freed:
            block = self._freed.popleft()
            del self._blocks[id(block)]
            self._live -= block.size
            if block.pages is not None and may_hoard():
                self._idle.setdefault(block.size, []).append(block.pages)
            block.pages = None
        self._least = min(self._least, self._live)


_ledger = _Ledger()
on_shortage(_ledger.release)

active_memory = _ledger.active
"""Return the bytes in use: MLX's, and these."""

peak_memory = _ledger.peak
"""Return the most bytes in use since `reset_peak`."""

reset_peak = _ledger.reset
"""Let `peak_memory` begin anew."""


def room(shape: int | tuple[int, ...], kind: Any = np.uint8) -> np.ndarray:
    """Return new memory that is counted. Only small memory is filled with zeros."""
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(kind).itemsize
    pages = None
    if size >= 2 * HUGE:
        pages = _ledger.idle_pages(size) or _new_pages(size)
        block = np.frombuffer(pages, np.uint8)
    else:
        make_room(size)
        block = np.zeros(size, np.uint8) if size <= SMALL else np.empty(size, np.uint8)
    _ledger.add(block, pages)
    memory: np.ndarray = block.view(kind).reshape(shape)
    return memory


def _new_pages(size: int) -> mmap.mmap:
    make_room(size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if _ADVICE is not None:
        pages.madvise(_ADVICE)
    return pages


def spare(size: int) -> np.ndarray:
    """Return scratch for one call. It comes from the C library, which often has memory that was used before."""
    make_room(size)
    block = np.empty(size, np.uint8)
    _ledger.add(block)
    return block.view()
