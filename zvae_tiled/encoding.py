"""The two ends of an encode: a picture made ready for the first Step, and finished rows made a distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping

import mlx.core as mx

from zvae_tiled.devices.heap import make_room
from zvae_tiled.families import VAEConfig
from zvae_tiled.latent_space import LatentDistribution
from zvae_tiled.planner.ends import READY_ROWS


def ready_image(image: mx.array, dtype: mx.Dtype) -> mx.array:
    """Return a picture (1, H, W, C) in [-1, 1], in the VAE's type; some rows at a time, so that no copy is as large."""
    ready = mx.zeros(image.shape, dtype=dtype)
    mx.eval(ready)
    for top in range(0, image.shape[1], READY_ROWS):
        rows = image[:, top : top + READY_ROWS].astype(mx.float32)
        if image.dtype == mx.uint8:
            rows = rows / 255
        ready[:, top : top + READY_ROWS] = (rows * 2 - 1).astype(dtype)
        mx.eval(ready)  # in place: nobody else holds the array before
    return ready


class DistributionSink:
    """Makes the distribution of the encoder's own rows, as they come: no second copy is as large as it."""

    host_bytes = 0

    def __init__(
        self, config: VAEConfig, weights: Mapping[str, mx.array], shape: tuple[int, int, int], dtype: mx.Dtype
    ) -> None:
        """Hold the distribution of latents (B, h, w) of this type."""
        batch, height, width = shape
        self._convention = config.latents
        self._weights = weights
        self._shape = (batch, self._convention.channels, *(side // self._convention.patch for side in (height, width)))
        self._dtype = dtype
        self._halves: list[mx.array] = []
        self._waiting: mx.array | None = None
        self._next = 0

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture's moments."""
        if not self._halves:
            make_room(2 * math.prod(self._shape) * self._dtype.size)
            self._halves = [mx.zeros(self._shape, dtype=self._dtype) for _ in range(2)]
            mx.eval(self._halves)
        if self._waiting is not None:
            rows = mx.concatenate([self._waiting, rows], axis=1)
        patch = self._convention.patch
        whole = rows.shape[1] // patch * patch
        self._waiting = _copy(rows[:, whole:]) if whole < rows.shape[1] else None
        if not whole:
            return
        part = LatentDistribution.from_moments(rows[:, :whole], self._convention, self._weights)
        top = self._next % self._shape[2]
        self._next += whole // patch
        for half, found in zip(self._halves, (part.mean, part.logvar), strict=True):
            half[picture : picture + 1, :, top : top + whole // patch] = found
        mx.eval(self._halves)  # in place: nobody else holds the arrays

    def close(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Free the arrays."""
        self._halves, self._waiting = [], None

    def result(self) -> LatentDistribution:
        """Hand out the distribution."""
        return LatentDistribution(*self._halves)


def _copy(rows: mx.array) -> mx.array:
    """Return rows that do not hold on to the band they are of, as a slice does."""
    copy = rows * 1
    mx.eval(copy)
    return copy
