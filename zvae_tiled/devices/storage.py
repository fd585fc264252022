"""The operations that all MLX kernels share: join rows, check results, write to disk and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Spread, Step
from zvae_tiled.devices import local, rearranged
from zvae_tiled.devices.evaluated import evaluate, now, viewed
from zvae_tiled.devices.kernels import Affine
from zvae_tiled.devices.native_cpu.arrays import Array, dtype_of, memory_of
from zvae_tiled.files.map_bytes import MapBytes

_BITS = {2: (mx.uint16, np.uint16), 4: (mx.float32, np.float32)}
"""NumPy's buffer protocol has no bfloat16, so its bits are passed as whole numbers of the same size."""

_WHOLE = {2: (mx.int16, mx.uint16), 4: (mx.int32, mx.uint32)}
_INFINITY = {mx.float32: 0x7F800000, mx.bfloat16: 0x7F80, mx.float16: 0x7C00}
"""The bits of +Inf. Without the sign bit, those of NaN are larger, and those of finite numbers smaller."""

_FEW = 16
"""A result with at most this many values may be flat by chance: bfloat16 has only 128 steps between powers of two."""


def _is_flat(arrays: list[mx.array]) -> bool:
    low = min(float(mx.min(x).item()) for x in arrays)  # type: ignore[arg-type]
    return all(bool(mx.all(x == low).item()) for x in arrays)


def magnitudes(bits: np.ndarray, dtype: mx.Dtype) -> np.ndarray:
    """Return the magnitudes for bits without a sign bit. NaN becomes infinity."""
    finite = bits < _INFINITY[dtype]
    safe = np.where(finite, bits, 0)
    if dtype == mx.float16:
        values = safe.astype(np.uint16).view(np.float16).astype(np.float32)
    else:
        values = (safe << (16 if dtype == mx.bfloat16 else 0)).astype(np.uint32).view(np.float32)
    return np.where(finite, values, np.float32(np.inf))


class MlxStorage:
    """Rows of maps as MLX arrays (1, rows, width, channels) of one type."""

    scattered = False

    def __init__(self, dtype: mx.Dtype) -> None:
        """Store maps in this type."""
        self.dtype = dtype
        self.narrow = dtype == mx.float16
        self._extent = np.empty((2, 0))

    def grain(self, step: Step) -> int:
        """Return 1: rows need no others."""
        del step
        return 1

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest sum of each row of the last `conv`, before bias and skip."""
        low, high = self._extent
        return low, high

    def _begin_extent(self, rows: int) -> None:
        self._extent = np.stack([np.full(rows, np.inf), np.full(rows, -np.inf)])

    def _note_extent(self, first: int, rows: int, y: mx.array) -> None:
        """Widen the extent of `rows` rows, from row `first` on. `y` has equally many values of each, in order."""
        y = y.reshape(rows, -1)
        low, high = mx.min(y, axis=1), mx.max(y, axis=1)
        evaluate(low, high)
        part = self._extent[:, first : first + rows]  # NumPy's minimum and maximum keep a NaN
        part[0] = np.minimum(part[0], np.asarray(low.astype(mx.float32)))
        part[1] = np.maximum(part[1], np.asarray(high.astype(mx.float32)))

    def idle(self, step: Step, weights: dict[str, mx.array], pieces: list[mx.array]) -> bool:
        """Return whether weights or input have one value everywhere, or the result has few values.

        For an attention, return whether its biases are zeros. A linear one may also give zeros.
        """
        if step.kind == "attention":
            return all(self._zeros(array) for name, array in weights.items() if name.endswith("bias"))
        if step.kind == "linear" and local.gives_zeros(step, weights["state"], pieces):
            return True
        rows, columns = step.gives(sum(x.shape[1] for x in pieces)), pieces[0].shape[2] // step.stride
        kernels = [array for name, array in weights.items() if name.startswith("weight")]
        few = step.outputs * columns * rows <= _FEW
        return few or _is_flat(pieces) or (bool(kernels) and all(_is_flat([kernel]) for kernel in kernels))

    def largest(self, x: mx.array) -> np.ndarray:
        """Return the largest magnitude in each row, from the bits: no copy, and a tenth of the time of isfinite."""
        x = x.reshape(x.shape[1], -1)
        signed, unsigned = _WHOLE[x.dtype.size]
        ends = mx.stack([mx.max(x.view(whole), axis=1).astype(mx.int64) for whole in (signed, unsigned)])
        positive, negative = np.asarray(now(ends))  # read from the device at once
        without_sign = negative & ((1 << (8 * x.dtype.size - 1)) - 1)
        return magnitudes(np.maximum(positive, without_sign), x.dtype)

    def intact(self) -> bool:
        """Return True: MLX does not report what it wrote."""
        return True

    def lost(self, weights: Mapping[str, mx.array], prepared: dict[str, mx.array]) -> bool:
        """Return whether `prepare` turned weights into zeros."""
        for name, array in weights.items():
            parts = [part for key, part in prepared.items() if key == name or key.startswith(f"{name}.")]
            if all(map(self._zeros, parts)) and not self._zeros(mx.array(array)):
                return True
        return False

    def blank(self, pieces: list[mx.array]) -> bool:
        """Return whether the first column of a row is zeros. One column is cheap to check."""
        columns = (np.asarray(now(piece[:, :, :1].astype(mx.float32))) for piece in pieces)
        return not all(column.any(axis=(2, 3)).all() for column in columns)

    def _zeros(self, x: mx.array) -> bool:
        return not self.largest(x.reshape(1, 1, -1)).any()

    def rows(self, x: mx.array) -> int:
        """Return the number of rows."""
        return x.shape[1]

    def join(self, spans: Sequence[tuple[Array, int, int]]) -> mx.array:
        """Copy spans of rows (array, start, stop) into one array. A single whole array is returned uncopied.

        Rows of another process are NumPy arrays, and are copied always.
        """
        own = [(x, start, stop) for x, start, stop in spans if isinstance(x, mx.array)]
        if len(own) < len(spans):
            return _received(spans)
        first, start, stop = own[0]
        if len(own) == 1 and stop - start == first.shape[1]:
            return first
        parts = [x[:, start:stop] for x, start, stop in own]
        # A slice shares its parent's memory. Only a concatenation is sure to copy.
        return now(mx.concatenate([*parts, first[:, :0]], axis=1))

    def beside(self, skip: list[tuple[mx.array, int, int]]) -> Any:
        """Return the rows of a skip as one array."""
        return self.join(skip)

    def spread(self, how: Spread, x: mx.array) -> mx.array:
        """Return rows of a skip with the shape of the output."""
        return rearranged.spread(how, x)

    def added(self, skip: mx.array, x: mx.array) -> mx.array:
        """Return the sum of two maps."""
        return now(skip + x)

    def shuffled(self, step: Step, x: mx.array) -> mx.array:
        """Return pixels made of channels, or channels made of pixels."""
        return rearranged.shuffled(x, step.order) if step.upsample else rearranged.unshuffled(x, step.order)

    def stacked(self, weights: list[mx.array]) -> mx.array:
        """Return one 1×1 convolution whose outputs are those of several linear maps, one after the other."""
        return now(mx.concatenate(weights)[:, None, None])

    def sums(self, step: Step, x: mx.array) -> np.ndarray:
        """Return what each row adds to the state of a linear attention, (rows, *state)."""
        return local.sums(step, (x[:, row : row + 1] for row in range(x.shape[1])))

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> Affine:
        """Return a folded norm as MLX arrays."""
        scale, shift, mean = (
            np.broadcast_to(values, scale.shape).astype(np.float32) for values in (scale, shift, mean)
        )
        return mx.array(scale), mx.array(shift), mx.array(mean)

    def pick(self, x: mx.array, pixels: np.ndarray, width: int) -> mx.array:
        """Copy some pixels, numbered row by row, in this order, as rows of `width` pixels."""
        channels = x.shape[-1]
        taken = mx.take(x.reshape(-1, channels), mx.array(pixels.astype(np.uint32)), axis=0)
        return now(taken.reshape(1, -1, width, channels))

    def crop(self, x: mx.array, left: int, right: int) -> mx.array:
        """Copy the columns from `left` to `right`."""
        part = x[:, :, left:right]
        return now(mx.concatenate([part, part[:, :0]], axis=1))

    def to_host(self, x: mx.array) -> np.ndarray:
        """Return rows as float32 (rows, width, channels)."""
        host: np.ndarray = np.asarray(now(x.astype(mx.float32)))[0]
        return host

    def from_host(self, rows: np.ndarray) -> mx.array:
        """Return rows (rows, width, channels) in the storage type."""
        return now(mx.array(rows[None].astype(np.float32)).astype(self.dtype))

    def to_mlx(self, x: mx.array) -> mx.array:
        """Return x."""
        return x

    def write(self, place: MapBytes, x: mx.array) -> None:
        """Append rows to a map on disk."""
        append(place, np.asarray(viewed(x, _BITS[self.dtype.size][0])))

    def read(self, place: MapBytes, start: int, rows: int, width: int, channels: int) -> mx.array:
        """Read rows that `write` wrote, directly into an array's memory."""
        bits = now(mx.zeros((1, rows, width, channels), dtype=_BITS[self.dtype.size][0]))
        fill(np.asarray(bits), place, start)
        return viewed(bits, self.dtype)


def _received(spans: Sequence[tuple[Array, int, int]]) -> mx.array:
    """Copy spans of rows, some of another process, into one array: only what is read is there twice."""
    first, top = spans[0][0], 0
    shape = (1, sum(stop - start for _, start, stop in spans), *first.shape[2:])
    out = now(mx.zeros(shape, dtype=dtype_of(first)))
    memory = memory_of(out)
    for x, start, stop in spans:
        memory[:, top : top + stop - start] = memory_of(x)[:, start:stop]
        top += stop - start
    return out


def append(place: MapBytes, rows: np.ndarray) -> None:
    """Append rows to a map on disk."""
    place.append(rows.data.cast("B"))


def fill(rows: np.ndarray, place: MapBytes, start: int) -> None:
    """Fill rows (1, rows, width, channels) from a map on disk, from its row `start` on."""
    place.fill(rows.data.cast("B"), start * rows[0, 0].nbytes)
