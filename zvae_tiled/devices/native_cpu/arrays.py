"""The memory of MLX arrays and the addresses of its rows, for native code."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.kernels import Affine
from zvae_tiled.devices.storage import now

TYPES = {mx.float32: 0, mx.bfloat16: 1, mx.float16: 2}
"""Numbers of the storage types (native/zvae.h)."""

BITS = {2: mx.uint16, 4: mx.float32}


@dataclass(frozen=True)
class Rows:
    """Some rows of an array, or rows of zeros, and the norm that is applied when they are read."""

    array: mx.array | None
    first: int
    stop: int
    width: int
    affine: Affine | None


def room(shape: int | tuple[int, ...], dtype: mx.Dtype = mx.uint8) -> mx.array:
    """Return new memory from MLX, whose allocator counts it."""
    return now(mx.zeros(shape, dtype=dtype))


def memory_of(x: mx.array) -> np.ndarray:
    """Return the memory of an array. The bits of 16-bit floats are whole numbers there."""
    memory = np.asarray(x if x.dtype.size == 4 or x.dtype == mx.uint8 else x.view(mx.uint16))
    if not memory.flags.c_contiguous:
        memory = np.asarray(now(mx.contiguous(x)).view(BITS[x.dtype.size]))
    return memory


def address(memory: np.ndarray) -> int:
    """Return the address of the first byte."""
    return cast(int, memory.__array_interface__["data"][0])


def floats(x: mx.array) -> np.ndarray:
    """Return a copy in float32."""
    return np.array(now(x.astype(mx.float32)))


def row_addresses(pieces: list[Rows]) -> tuple[list[np.ndarray], Any, Affine | None]:
    """Return the memory to keep alive, the address of every row, and the norm that the pieces share."""
    held: list[np.ndarray] = []
    addresses: list[int | None] = []
    affine: Affine | None = None
    for piece in pieces:
        if piece.array is None:
            addresses += [None] * (piece.stop - piece.first)
            continue
        memory = memory_of(piece.array)
        start, row = address(memory), memory.strides[1]
        held.append(memory)
        addresses += [start + i * row for i in range(piece.first, piece.stop)]
        affine = piece.affine
    return held, (ctypes.c_void_p * len(addresses))(*addresses), affine
