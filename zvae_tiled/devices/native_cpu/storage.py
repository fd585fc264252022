"""Rows of maps in counted NumPy memory: copied by the native library's threads, written to disk and read back."""

from __future__ import annotations

import ctypes

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Spread, Step
from zvae_tiled.devices import local
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
from zvae_tiled.devices.storage import MlxStorage, append, fill
from zvae_tiled.files.map_bytes import MapBytes


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

    def spread(self, how: Spread, x: Array) -> Array:
        """Return rows of a skip with the shape of the output."""
        if how.averages:
            return self._mlx.spread(how, mlx_of(x))
        memory, up = memory_of(x), how.up
        out = room((1, up * memory.shape[1], up * memory.shape[2], how.outputs), memory.dtype)
        for down, across in np.ndindex(up, up):
            out[:, down::up, across::up] = memory[..., _columns(how.sources[down, across])]
        return out

    def added(self, skip: Array, x: Array) -> Array:
        """Return the sum of two maps."""
        return self._mlx.added(mlx_of(skip), mlx_of(x))

    def shuffled(self, step: Step, x: Array) -> Array:
        """Return pixels made of channels, or channels made of pixels."""
        memory = memory_of(x)
        rows, width = (side // step.stride for side in memory.shape[1:3])
        out = room((1, rows * step.factor, width * step.factor, step.outputs), memory.dtype)
        large, small = (out, memory) if step.upsample else (memory, out)
        channels = large.shape[3]
        sizes = {"c": channels, "y": 2, "x": 2}
        listed = small.reshape(rows, width, *(sizes[axis] for axis in step.order))
        y, across, c = (2 + step.order.index(axis) for axis in "yxc")
        pixels, packed = large.reshape(rows, 2, width, 2, channels), listed.transpose(0, y, 1, across, c)
        if step.upsample:
            pixels[...] = packed
        else:
            packed[...] = pixels
        return out

    def crop(self, x: Array, left: int, right: int) -> Array:
        """Copy the columns from `left` to `right`."""
        if isinstance(x, mx.array):
            return self._mlx.crop(x, left, right)
        part = x[:, :, left:right]
        out = room(part.shape, part.dtype)
        out[...] = part
        return out

    def pick(self, x: Array, pixels: np.ndarray, width: int) -> Array:
        """Copy some pixels, numbered row by row, in this order, as rows of `width` pixels."""
        memory = memory_of(x).reshape(-1, x.shape[-1])
        out = room((1, len(pixels) // width, width, x.shape[-1]), memory.dtype)
        np.take(memory, pixels, axis=0, out=out.reshape(-1, x.shape[-1]), mode="clip")  # other modes copy
        return out

    def stacked(self, weights: list[mx.array]) -> mx.array:
        """Return one 1×1 convolution whose outputs are those of several linear maps, one after the other."""
        return self._mlx.stacked(weights)

    def sums(self, step: Step, x: Array) -> np.ndarray:
        """Return what each row adds to the state of a linear attention, (rows, *state)."""
        return local.sums(step, (mlx_of(x[:, row : row + 1]) for row in range(x.shape[1])))

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

    def write(self, place: MapBytes, x: Array) -> None:
        """Append rows to a map on disk."""
        append(place, memory_of(x))

    def read(self, place: MapBytes, start: int, rows: int, width: int, channels: int) -> Array:
        """Read rows that `write` wrote, directly into an array's memory."""
        out = room((1, rows, width, channels), NUMPY[self.dtype])
        fill(out, place, start)
        return out


def _columns(channels: np.ndarray) -> slice | np.ndarray:
    """Return channels as a slice where they are evenly spaced, which is faster to read."""
    steps = set(np.diff(channels).tolist())
    return slice(channels[0], channels[-1] + 1, steps.pop()) if len(steps) == 1 and min(steps) > 0 else channels
