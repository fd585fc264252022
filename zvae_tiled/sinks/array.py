"""Collects pictures in memory: in an MLX array, or in a NumPy array that torch and Pillow can use."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.evaluated import evaluate
from zvae_tiled.devices.heap import make_room
from zvae_tiled.inputs.arrays import OutputType, imported
from zvae_tiled.sinks.writer import samples


class ArraySink:
    """Fills one array, allocated at the first row."""

    def __init__(
        self, shape: tuple[int, int, int, int], dtype: mx.Dtype, output_type: OutputType, channels_first: bool = False
    ) -> None:
        """Prepare for pictures.

        Args:
            shape: (B, H, W, C).
            dtype: Their type. uint8 stands for the levels that an 8-bit file holds.
            output_type: As in `VAE.decode`.
            channels_first: Whether the array is (B, C, H, W).
        """
        self._shape = shape
        self._channels_first = channels_first
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
        if self._dtype == mx.uint8:
            for block in samples(rows, 8):
                self._place(picture, top, block[None])
                top += len(block)
        elif isinstance(self._array, mx.array):
            self._place(picture, top, rows)
        else:
            self._place(picture, top, np.asarray(rows.astype(mx.float32)))

    def _place(self, picture: int, top: int, rows: Any) -> None:
        """Copy rows (1, rows, W, C) to their place."""
        one, down = slice(picture, picture + 1), slice(top, top + rows.shape[1])
        if isinstance(self._array, mx.array):
            rows = mx.array(rows)
            if self._channels_first:
                self._array[one, :, down] = mx.moveaxis(rows, -1, 1)
            else:
                self._array[one, down] = rows
            evaluate(self._array)  # in place, because there is no other reference to the array
        elif self._channels_first:
            self._array[one, :, down] = np.moveaxis(rows, -1, 1)
        else:
            self._array[one, down] = rows

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
        batch, height, width, channels = self._shape
        shape = (batch, channels, height, width) if self._channels_first else self._shape
        levels = self._dtype == mx.uint8
        make_room(math.prod(shape) * (self._dtype.size if self._output_type == "mx" else 1 if levels else 4))
        if self._output_type == "mx":
            array = mx.zeros(shape, dtype=self._dtype)
            evaluate(array)
            return array
        return np.empty(shape, np.uint8 if levels else np.float32)
