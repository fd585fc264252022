"""Rows of maps in counted NumPy memory: copied by the native library's threads, written to disk and read back."""

from __future__ import annotations

import ctypes
from typing import BinaryIO

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.counted import room
from zvae_tiled.devices.kernels import Affine
from zvae_tiled.devices.native_cpu import library as native
from zvae_tiled.devices.native_cpu.arrays import (
    NUMPY,
    Array,
    Rows,
    address,
    floats,
    is_contiguous,
    memory_of,
    mlx_of,
    row_addresses,
)
from zvae_tiled.devices.native_cpu.readback import WAKE
from zvae_tiled.devices.storage import MlxStorage, read_into, write_all


class NativeStorage:
    """Rows of maps as arrays (1, rows, width, channels) of one type. Latents and images are read as MLX's arrays."""

    scattered = True

    def __init__(self, dtype: mx.Dtype, library: native.Library, path: str, threads: int) -> None:
        """Store maps in this type, and copy them with these threads."""
        self.dtype = dtype
        self.narrow = dtype == mx.float16
        self.path = path
        self._library = library
        self._threads = threads
        self._mlx = MlxStorage(dtype)

    def rows(self, x: Array) -> int:
        """Return the number of rows."""
        return x.shape[1]

    def join(self, spans: list[tuple[Array, int, int]]) -> Array:
        """Copy spans of rows (array, start, stop) into one array. A single whole array is returned uncopied."""
        first, rows = spans[0][0], sum(stop - start for _, start, stop in spans)
        if len(spans) == 1 and rows == first.shape[1]:
            return first
        if not all(is_contiguous(x) for x, _, _ in spans):  # the whole memory of such an array would be copied first
            return self._mlx.join([(mlx_of(x), start, stop) for x, start, stop in spans])
        held, addresses, _ = row_addresses(self.beside(spans))
        out = room((1, rows, *first.shape[2:]), held[0].dtype)
        threads = self._threads if out.nbytes >= WAKE else 1
        at = (ctypes.addressof(addresses), address(out))
        self._library.call(self.path, native.Copy(rows, out.nbytes // rows, *at, threads))
        del held
        return out

    def beside(self, skip: list[tuple[Array, int, int]]) -> list[Rows]:
        """Return the rows of a skip, which are read where they lie."""
        return [Rows(x, start, stop, x.shape[2], None) for x, start, stop in skip]

    def crop(self, x: Array, left: int, right: int) -> Array:
        """Copy the columns from `left` to `right`."""
        if isinstance(x, mx.array):
            return self._mlx.crop(x, left, right)
        part = x[:, :, left:right]
        out = room(part.shape, part.dtype)
        out[...] = part
        return out

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> Affine:
        """Return a folded norm as NumPy arrays."""
        scale, shift, mean = (
            np.broadcast_to(values, scale.shape).astype(np.float32) for values in (scale, shift, mean)
        )
        return scale, shift, mean

    def to_host(self, x: Array) -> np.ndarray:
        """Return rows as float32 (rows, width, channels)."""
        rows: np.ndarray = floats(x)[0]
        return rows

    def from_host(self, rows: np.ndarray) -> Array:
        """Return rows (rows, width, channels) in the storage type."""
        return self._mlx.from_host(rows)

    def to_mlx(self, x: Array) -> mx.array:
        """Return rows as an MLX array."""
        return mlx_of(x)

    def write(self, file: BinaryIO, x: Array) -> None:
        """Append rows to a file."""
        write_all(file, memory_of(x))

    def read(self, file: BinaryIO, start: int, rows: int, width: int, channels: int) -> Array:
        """Read rows that `write` wrote, directly into an array's memory."""
        out = room((1, rows, width, channels), NUMPY[self.dtype])
        read_into(out, file, start)
        return out
