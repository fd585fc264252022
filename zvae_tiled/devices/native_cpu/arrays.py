"""The memory of MLX arrays and the addresses of its rows, for native code."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.heap import SMALL, make_room
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


_NUMPY = {mx.uint8: np.uint8, mx.uint16: np.uint16, mx.bfloat16: np.uint16, mx.float16: np.uint16}
"""NumPy's types for memory. Every other type here is float32."""


def room(shape: int | tuple[int, ...], dtype: mx.Dtype = mx.uint8) -> mx.array:
    """Return new memory from MLX, whose allocator counts it."""
    if math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.size <= SMALL:
        return mx.array(np.zeros(shape, _NUMPY.get(dtype, np.float32)))  # an evaluation takes ten times as long
    return now(mx.zeros(shape, dtype=dtype))


def spare(size: int) -> np.ndarray:
    """Return scratch for one call, from NumPy. MLX would fill it with zeros each time: 6 % of a decode of 512×512."""
    make_room(size)
    return np.empty(size, np.uint8)


def is_contiguous(x: mx.array) -> bool:
    """Return whether the numbers of an array follow one another in memory."""
    try:
        np.frombuffer(cast(Any, x), np.uint8)
    except BufferError:
        return False
    return True


def memory_of(x: mx.array) -> np.ndarray:
    """Return the memory of an array. The bits of 16-bit floats are whole numbers there."""
    kind, buffer = _NUMPY.get(x.dtype, np.float32), cast(Any, x)
    try:
        memory = np.frombuffer(buffer, kind)  # needs no evaluation, unlike x.view(mx.uint16)
    except BufferError:  # not contiguous
        memory = np.frombuffer(cast(Any, now(mx.contiguous(x))), kind)
    return memory.reshape(x.shape)


def address(memory: np.ndarray) -> int:
    """Return the address of the first byte."""
    return cast(int, memory.__array_interface__["data"][0])


def floats(x: mx.array) -> np.ndarray:
    """Return a copy in float32."""
    memory = memory_of(x)
    if x.dtype == mx.bfloat16:
        return (memory.astype(np.uint32) << 16).view(np.float32)
    return memory.view(np.float16).astype(np.float32) if x.dtype == mx.float16 else memory.copy()


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
