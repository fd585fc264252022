"""Memory from NumPy that is counted like MLX's: native kernels keep their maps in it, and write them on all threads.

MLX fills new memory with zeros on one thread before a native call can write to it. Nothing fills this memory.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections import deque
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.heap import SMALL, make_room, may_hoard, on_shortage
from zvae_tiled.devices.slabs import Place, Slabs

LARGE = 4 << 20
"""Bytes of a block from which on it lies in a slab. The C library uses the memory of smaller ones again by itself."""


class _Block(weakref.ref[np.ndarray]):
    """A block that is in use, and where it lies, if it is a large one."""

    size: int
    place: Place | None


class _Ledger:
    """Adds up the blocks in use. A block leaves when its last view is freed, in any thread and at any moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: dict[int, _Block] = {}
        self._freed: deque[_Block] = deque()
        self._slabs = Slabs()
        self._live = self._least = self._peak = 0

    def add(self, memory: np.ndarray) -> None:
        with self._lock:
            self._settle()
            self._note(memory, None)

    def large(self, size: int) -> np.ndarray:
        """Return a large block, which often has pages that a freed one had."""
        with self._lock:
            self._settle()
            memory, place, new = self._slabs.take(size)
            try:
                self._note(memory, place)
            except BaseException:  # Ctrl-C too
                self._slabs.give(place)
                raise
        make_room(new)
        return memory

    def _note(self, memory: np.ndarray, place: Place | None) -> None:
        block = _Block(memory, self._left)
        block.size, block.place = memory.nbytes, place
        self._blocks[id(block)] = block
        self._live += block.size
        self._now()

    def _left(self, block: _Block) -> None:
        """Note that a block was freed. Garbage collection calls this too, while the lock may be held."""
        self._freed.append(block)
        if not may_hoard() and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def release(self) -> None:
        """Give the pages of freed blocks back to the system, unless a block is being made."""
        if self._lock.acquire(blocking=False):
            try:
                self._settle()
                self._slabs.release()
            finally:
                self._lock.release()

    def forked(self) -> None:
        """Begin with a new lock: another thread of the parent may hold the old one."""
        self._lock = threading.Lock()

    def active(self) -> int:
        with self._lock:
            self._settle()
            return self._now()

    def peak(self) -> int:
        """Return the most bytes in use since `reset`.

        While MLX's peak was reached, at least the fewest bytes of blocks were in use.
        """
        with self._lock:
            self._settle()
            return max(self._peak, self._now(), self._least + mx.get_peak_memory())

    def reset(self) -> None:
        with self._lock:
            self._settle()
            self._peak, self._least = 0, self._live
            mx.reset_peak_memory()  # it stays 0 until MLX allocates

    def _now(self) -> int:
        now = self._live + mx.get_active_memory()
        self._peak = max(self._peak, now)
        return now

    def _settle(self) -> None:
        freed = False
        while self._freed:
            block = self._freed[0]
            if (place := block.place) is not None:
                block.place = None  # interrupted from here on, its pages are lost, and never given to two blocks
                self._slabs.give(place)
                freed = True
            if self._blocks.pop(id(block), None) is not None:
                self._live -= block.size
            self._freed.popleft()
        if freed and not may_hoard():
            self._slabs.release()
        self._least = min(self._least, self._live)


_ledger = _Ledger()
on_shortage(_ledger.release)
os.register_at_fork(after_in_child=_ledger.forked)

active_memory = _ledger.active
"""Return the bytes in use: MLX's, and these."""

peak_memory = _ledger.peak
"""Return the most bytes in use since `reset_peak`."""

reset_peak = _ledger.reset
"""Let `peak_memory` begin anew."""


def room(shape: int | tuple[int, ...], kind: Any = np.uint8) -> np.ndarray:
    """Return new memory that is counted. Only small memory is filled with zeros."""
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * np.dtype(kind).itemsize
    if size >= LARGE:
        block = _ledger.large(size)
    else:
        make_room(size)
        block = np.zeros(size, np.uint8) if size <= SMALL else np.empty(size, np.uint8)
        _ledger.add(block)
    memory: np.ndarray = block.view(kind).reshape(shape)
    return memory


def count(memory: np.ndarray) -> None:
    """Count memory that was made elsewhere, such as rows from another process, until its last view is freed."""
    while isinstance(memory.base, np.ndarray):  # views hold on to this one
        memory = memory.base
    _ledger.add(memory)


def spare(size: int) -> np.ndarray:
    """Return scratch for one call. It comes from the C library, which often has memory that was used before."""
    make_room(size)
    block = np.empty(size, np.uint8)
    _ledger.add(block)
    return block.view()
