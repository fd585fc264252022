"""Halves a picture: each pixel is the mean of 2x2. The last row or column of an odd side is repeated."""

from __future__ import annotations

import numpy as np

from zvae_tiled.sinks.writer import Samples, Shape

STEP = 16
"""Rows that are halved at a time. The sums of four numbers need more bytes than the numbers."""

_WIDE = {1: np.uint16, 2: np.uint32, 4: np.float32}
"""The type of the sum of four numbers, by the bytes of one."""


def halved_shape(shape: Shape) -> Shape:
    """Return the shape of the halved picture. Odd sides are rounded up."""
    return -(-shape[0] // 2), -(-shape[1] // 2), shape[2]


def halved(rows: Samples) -> Samples:
    """Return the 2x2 means of rows that begin at an even row. Whole numbers are rounded, halves up.

    Float32 is added pair by pair, left to right, then top to bottom, so the result is the same everywhere.
    """
    down = _pairs(rows.astype(_WIDE[rows.dtype.itemsize], copy=False), axis=1)
    total = _pairs(down, axis=0)
    if rows.dtype.kind == "f":
        total *= np.float32(0.25)
        return total
    total += 2
    total >>= 2
    return total.astype(rows.dtype)


def _pairs(rows: Samples, axis: int) -> Samples:
    """Return the sums of neighbours. One without a neighbour is taken twice."""
    even = [slice(None)] * 3
    even[axis] = slice(0, None, 2)
    sums = rows[tuple(even)].copy()
    count = rows.shape[axis] // 2
    paired, odd = [slice(None)] * 3, [slice(None)] * 3
    paired[axis], odd[axis] = slice(0, count), slice(1, None, 2)
    sums[tuple(paired)] += rows[tuple(odd)]
    if rows.shape[axis] % 2:
        alone = [slice(None)] * 3
        alone[axis] = slice(count, None)
        sums[tuple(alone)] *= rows.dtype.type(2)
    return sums
