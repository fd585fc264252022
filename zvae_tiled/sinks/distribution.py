"""Builds the distribution of latents from the encoder's rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import mlx.core as mx

from zvae_tiled.devices.evaluated import evaluate
from zvae_tiled.devices.heap import make_room
from zvae_tiled.families import LatentConvention
from zvae_tiled.inputs.latent_space import LatentDistribution


class DistributionSink:
    """Builds the distribution row by row from the encoder's output, without a second copy of that size."""

    host_bytes = 0

    def __init__(
        self,
        convention: LatentConvention,
        weights: Mapping[str, mx.array],
        shape: tuple[int, int, int],
        dtype: mx.Dtype,
    ) -> None:
        """Prepare for the distribution of latents of size (B, h, w) and of this type, converted to a convention."""
        batch, height, width = shape
        self._convention = convention
        self._weights = weights
        channels, self._grain = self._convention.returned
        sides = (side // self._convention.patch * self._grain for side in (height, width))
        self._shape = (batch, channels, *sides)
        self._dtype = dtype
        self._halves: list[mx.array] = []
        self._waiting: mx.array | None = None
        self._next = 0

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture's moments."""
        if not self._halves:
            make_room(2 * math.prod(self._shape) * self._dtype.size)
            self._halves = [mx.zeros(self._shape, dtype=self._dtype) for _ in range(2)]
            evaluate(self._halves)
        if self._waiting is not None:
            rows = mx.concatenate([self._waiting, rows], axis=1)
        patch = self._convention.patch
        whole = rows.shape[1] // patch * patch
        self._waiting = _copy(rows[:, whole:]) if whole < rows.shape[1] else None
        if not whole:
            return
        part = LatentDistribution.from_moments(rows[:, :whole], self._convention, self._weights)
        top = self._next % self._shape[2]
        count = whole // patch * self._grain
        self._next += count
        for half, new in zip(self._halves, (part.mean, part.logvar), strict=True):
            half[picture : picture + 1, :, top : top + count] = new
        evaluate(self._halves)  # in place, because there are no other references to the arrays

    def close(self) -> None:
        """Do nothing: the distribution is complete."""

    def abort(self) -> None:
        """Free the arrays."""
        self._halves, self._waiting = [], None

    def result(self) -> LatentDistribution:
        """Return the distribution."""
        return LatentDistribution(*self._halves)


def _copy(rows: mx.array) -> mx.array:
    """Return a copy of rows. Unlike a slice, it does not keep their whole band in memory."""
    copy = rows * 1
    evaluate(copy)
    return copy
