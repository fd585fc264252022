"""What a native call wrote, against what memory holds afterwards.

A call adds up the bits of all it writes while they are in registers (native/readback.h). The same sum over memory is
another if the call did nothing, or if what it wrote was lost. Both sums begin as numbers that cannot agree.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.native_cpu import library as native
from zvae_tiled.devices.native_cpu.arrays import TYPES, address

_UNWRITTEN = 1
"""A sum that no call has written; new memory holds zeros, whose sum is 0."""

_UNREAD = -1
"""A sum, or a magnitude, that was not read back."""

_MAGNITUDE = 0x7FFFFFFF
"""All bits but the sign; a magnitude that was not read back is then above infinity, so it counts as not finite."""

_WAKE = 1 << 16
"""From this many bytes on other threads help to read: waking them takes as long as reading so much."""


def unwritten(*shape: int) -> np.ndarray:
    """Return room for the sums of bits of a call."""
    return np.full(shape, _UNWRITTEN, np.int64)


def kept(
    library: native.Library, path: str, threads: int, written: np.ndarray, *memories: np.ndarray
) -> tuple[bool, np.ndarray]:
    """Compare what a call wrote with what memory holds.

    Args:
        library: The library.
        path: The path that wrote.
        threads: Threads that read, at most.
        written: The sums of bits that the call took.
        memories: All that the call wrote, as rows of numbers.

    Returns:
        Whether memory holds what was written; and the largest magnitude in each row of the last memory, as bits.
    """
    total, largest = int(written.sum()), np.empty(0, np.int64)
    for memory in memories:
        sums, largest = np.full((2, len(memory)), _UNREAD, np.int64)
        kind = TYPES[mx.float32 if memory.itemsize == 4 else mx.bfloat16]  # float16's bits are read alike
        at = map(address, (memory, sums, largest))
        library.call(path, native.ReadBack(kind, *memory.shape, *at, threads if memory.nbytes >= _WAKE else 1))
        total -= int(sums.sum())
    return total % (1 << 32) == 0, np.bitwise_and(largest, _MAGNITUDE)
