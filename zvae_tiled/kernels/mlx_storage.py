"""What all MLX kernels share: rows stored, joined, and sent to disk and back."""

from __future__ import annotations

import os
from typing import BinaryIO

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.kernels.base import Affine

_BITS = {2: (mx.uint16, np.uint16), 4: (mx.float32, np.float32)}
"""bfloat16 cannot cross NumPy's buffer protocol; its bits can, as whole numbers of the same size."""


def now(x: mx.array) -> mx.array:
    """Compute x before anything else happens."""
    mx.eval(x)
    return x


def _is_flat(arrays: list[mx.array]) -> bool:
    low = min(float(mx.min(x).item()) for x in arrays)  # type: ignore[arg-type]
    return all(bool(mx.all(x == low).item()) for x in arrays)


class MlxStorage:
    """Rows of maps as MLX arrays (1, rows, width, channels) of one type."""

    def __init__(self, dtype: mx.Dtype) -> None:
        """Store maps in this type."""
        self.dtype = dtype
        self._extent: list[tuple[float, float]] = []

    def extent(self) -> tuple[float, float]:
        """Return the least and the largest value the last `conv` computed, before bias and skip."""
        # Not min() and max(): they lose a NaN that does not come first.
        low, high = np.array(self._extent).T
        return float(low.min()), float(high.max())

    def idle(self, step: Step, weights: dict[str, mx.array], pieces: list[mx.array]) -> bool:
        """Tell whether weights or input are the same number everywhere, or there is but one value."""
        one = step.outputs * pieces[0].shape[2] == 1 and sum(x.shape[1] for x in pieces) == 2 * step.halo + 1
        kernels = [array for name, array in weights.items() if name.startswith("weight")]
        return one or _is_flat(pieces) or all(_is_flat([kernel]) for kernel in kernels)

    def rows(self, x: mx.array) -> int:
        """Return how many rows there are."""
        return x.shape[1]

    def join(self, spans: list[tuple[mx.array, int, int]]) -> mx.array:
        """Copy rows of some arrays into one; one whole array is handed back as it is."""
        first, start, stop = spans[0]
        if len(spans) == 1 and stop - start == first.shape[1]:
            return first
        parts = [x[:, start:stop] for x, start, stop in spans]
        # A slice shares its parent's memory; only a concatenation surely copies.
        return now(mx.concatenate([*parts, first[:, :0]], axis=1))

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> Affine:
        """Bring a folded norm to MLX."""
        scale, shift, mean = (
            np.broadcast_to(values, scale.shape).astype(np.float32) for values in (scale, shift, mean)
        )
        return mx.array(scale), mx.array(shift), mx.array(mean)

    def crop(self, x: mx.array, left: int, right: int) -> mx.array:
        """Copy some columns."""
        part = x[:, :, left:right]
        return now(mx.concatenate([part, part[:, :0]], axis=1))

    def to_host(self, x: mx.array) -> np.ndarray:
        """Return rows as float32 (rows, width, channels)."""
        host: np.ndarray = np.asarray(now(x.astype(mx.float32)))[0]
        return host

    def from_host(self, rows: np.ndarray) -> mx.array:
        """Store rows (rows, width, channels)."""
        return now(mx.array(rows[None].astype(np.float32)).astype(self.dtype))

    def write(self, file: BinaryIO, x: mx.array) -> None:
        """Append rows to a file."""
        data = np.asarray(x.view(_BITS[self.dtype.size][0])).data.cast("B")
        while data:
            data = data[os.write(file.fileno(), data) :]

    def read(self, file: BinaryIO, start: int, rows: int, width: int, channels: int) -> mx.array:
        """Read rows back, straight into an array's memory."""
        bits = now(mx.zeros((1, rows, width, channels), dtype=_BITS[self.dtype.size][0]))
        data = np.asarray(bits).data.cast("B")
        offset = start * width * channels * self.dtype.size
        while data:
            got = os.preadv(file.fileno(), [data], offset)
            if not got:
                raise OSError("the spilled rows are shorter than what was written")
            data, offset = data[got:], offset + got
        return now(bits.view(self.dtype))
