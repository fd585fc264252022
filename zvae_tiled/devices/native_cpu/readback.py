"""Compares what a native call wrote with what memory holds afterwards.

A call adds up the bits of everything it writes, in registers (native/readback.h). The sum over memory differs if the
call did nothing, or if memory lost what was written. Both sums start as numbers that cannot be equal.
"""

from __future__ import annotations

import numpy as np

from zvae_tiled.devices.native_cpu import library as native
from zvae_tiled.devices.native_cpu.arrays import address

_UNWRITTEN = 1
"""A sum that no call has written. It is not 0, which is the sum over new memory."""

_UNREAD = -1
"""A sum or a magnitude that no call has read back."""

_MAGNITUDE = 0x7FFFFFFF
"""All bits but the sign. They make an unread magnitude a NaN, so it counts as not finite."""

WAKE = 1 << 16
"""Bytes from which on several threads read or copy. Waking them takes as long as reading this much."""


def unwritten(*shape: int) -> np.ndarray:
    """Return memory for the sums of a call."""
    return np.full(shape, _UNWRITTEN, np.int64)


def kept(
    library: native.Library, path: str, threads: int, written: np.ndarray, *memories: np.ndarray
) -> tuple[bool, np.ndarray]:
    """Compare what a call wrote with what memory holds.

    Args:
        library: The library.
        path: The path that wrote.
        threads: Threads that read, at most.
        written: The sums that the call returned.
        memories: Everything the call wrote, as rows of numbers.

    Returns:
        Whether memory holds what was written, and the largest magnitude in each row of the last memory, as bits.
    """
    total, largest = int(written.sum()), np.empty(0, np.int64)
    for memory in memories:
        sums, largest = np.full((2, len(memory)), _UNREAD, np.int64)
        kind = 0 if memory.itemsize == 4 else 1  # float16's bits are read alike
        at = map(address, (memory, sums, largest))
        library.call(path, native.ReadBack(kind, *memory.shape, *at, threads if memory.nbytes >= WAKE else 1))
        total -= int(sums.sum())
    return total % (1 << 32) == 0, np.bitwise_and(largest, _MAGNITUDE)
