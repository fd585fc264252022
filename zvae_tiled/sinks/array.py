"""Collects pictures in memory: in an MLX array, or in a NumPy array that torch and Pillow can use."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.heap import make_room
from zvae_tiled.inputs.arrays import OutputType, imported


class ArraySink:
    """Fills one array, allocated at the first row."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: mx.Dtype, output_type: OutputType) -> None:
        """Prepare for pictures of shape (B, H, W, C) and of this type."""
        self._shape = shape
        self._output_type = output_type
        self._dtype = dtype
        self._next = 0
        self._array: Any = None

    @property
    def host_bytes(self) -> int:
        """Bytes held outside MLX's allocator."""
        return 0 if self._array is None or isinstance(self._array, mx.array) else int(self._array.nbytes)

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""
        if self._array is None:
            self._array = self._allocated()
        height = self._shape[1]
        top = self._next - picture * height
        self._next += rows.shape[1]
        if isinstance(self._array, mx.array):
            self._array[picture : picture + 1, top : top + rows.shape[1]] = rows
            mx.eval(self._array)  # in place, because there is no other reference to the array
        elif self._output_type == "pil":
            self._array[picture, top : top + rows.shape[1]] = np.asarray(mx.round(rows * 255).astype(mx.uint8))[0]
        else:
            self._array[picture, top : top + rows.shape[1]] = np.asarray(rows.astype(mx.float32))[0]

    def close(self) -> None:
        """Do nothing: the array is complete."""

    def abort(self) -> None:
        """Free the array."""
        self._array = None

    def result(self) -> Any:
        """Return the pictures in the output type."""
        if self._output_type == "torch":
            return imported("torch", "pip install torch").from_numpy(self._array)
        if self._output_type == "pil":
            image = imported("PIL.Image", "pip install 'zvae-tiled[pil]'")
            # Pillow reads one channel as (H, W), but not as (H, W, 1).
            return [image.fromarray(level[..., 0] if level.shape[-1] == 1 else level) for level in self._array]
        return self._array

    def _allocated(self) -> Any:
        size = math.prod(self._shape)
        make_room(size * (self._dtype.size if self._output_type == "mx" else 1 if self._output_type == "pil" else 4))
        if self._output_type == "mx":
            array = mx.zeros(self._shape, dtype=self._dtype)
            mx.eval(array)
            return array
        return np.empty(self._shape, np.uint8 if self._output_type == "pil" else np.float32)
