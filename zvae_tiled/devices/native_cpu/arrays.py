"""Memory and addresses for native code: maps are NumPy arrays, and what comes from outside are MLX's."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.counted import room
from zvae_tiled.devices.evaluated import now
from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.kernels import Affine

Array = mx.array | np.ndarray
"""Rows of a map. NumPy has no bfloat16: its bits are whole numbers there."""

NUMPY: dict[mx.Dtype, Any] = {mx.bfloat16: np.uint16, mx.float16: np.float16, mx.float32: np.float32}
"""NumPy's types for the storage types."""

_NUMBERS = {np.dtype(np.float32): 0, np.dtype(np.uint16): 1, np.dtype(np.float16): 2}
"""Numbers of the storage types (native/zvae.h)."""


@dataclass(frozen=True)
class Rows:
    """Some rows of an array, or rows of zeros, and the norm that is applied when they are read."""

    array: Array | None
    first: int
    stop: int
    width: int
    affine: Affine | None


def number_of(memory: np.ndarray) -> int:
    """Return the native library's number of a type."""
    return _NUMBERS[memory.dtype]


def dtype_of(x: Array) -> mx.Dtype:
    """Return MLX's type of an array."""
    if isinstance(x, mx.array):
        return x.dtype
    return next(dtype for dtype, kind in NUMPY.items() if x.dtype == kind)


def is_contiguous(x: Array) -> bool:
    """Return whether the numbers of an array follow one another in memory."""
    try:
        np.frombuffer(cast(Any, x), np.uint8)
    except (BufferError, ValueError):
        return False
    return True


def memory_of(x: Array) -> np.ndarray:
    """Return the memory of an array."""
    if isinstance(x, np.ndarray):
        return x
    kind, buffer = NUMPY[x.dtype], cast(Any, x)
    try:
        memory = np.frombuffer(buffer, kind)  # needs no evaluation, unlike x.view(mx.uint16)
    except BufferError:  # not contiguous
        memory = np.frombuffer(cast(Any, now(mx.contiguous(x))), kind)
    return memory.reshape(x.shape)


def mlx_of(x: Array) -> mx.array:
    """Return an array as MLX's; NumPy's is copied."""
    if isinstance(x, mx.array):
        return x
    make_room(x.nbytes)
    return mx.array(x).view(mx.bfloat16) if x.dtype == np.uint16 else mx.array(x)


def address(memory: np.ndarray) -> int:
    """Return the address of the first byte."""
    return cast(int, memory.__array_interface__["data"][0])


def floats(x: Array) -> np.ndarray:
    """Return a copy in float32."""
    memory = memory_of(x)
    wide = room(memory.shape, np.float32)
    if memory.dtype == np.uint16:
        bits = wide.view(np.uint32)
        bits[...] = memory
        bits <<= 16
    else:
        wide[...] = memory
    return wide


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
