"""Moments: the mean and variance of a whole map, gathered row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


class Moments:
    """Count, mean and M2 (the sum of squared distances from the mean) of every group of channels.

    Rows are merged one at a time, in their order, in float64, by the formula of Chan, Golub and LeVeque (1979).
    So the result does not depend on how the rows were split into bands. A large mean costs no accuracy, as it
    would in a sum of squares.
    """

    def __init__(self, groups: int) -> None:
        self.count = 0
        self.mean: Array = np.zeros(groups)
        self.m2: Array = np.zeros(groups)

    @np.errstate(invalid="ignore", over="ignore")  # the guard reports an overflow at the next convolution
    def add(self, means: Array, m2s: Array, width: int) -> None:
        """Merge the moments of some rows.

        Args:
            means: Mean of every channel of every row, (rows, channels).
            m2s: M2 of every channel of every row, (rows, channels).
            width: Pixels per row.
        """
        rows, channels = means.shape
        members = channels // self.mean.size
        means = means.reshape(rows, self.mean.size, members).astype(np.float64)
        m2s = m2s.reshape(rows, self.mean.size, members).astype(np.float64)
        row_means = means.mean(axis=2)
        row_m2s = m2s.sum(axis=2) + width * np.square(means - row_means[:, :, None]).sum(axis=2)
        for mean, m2 in zip(row_means, row_m2s, strict=True):
            self._merge(width * members, mean, m2)

    def _merge(self, count: int, mean: Array, m2: Array) -> None:
        total = self.count + count
        distance = mean - self.mean
        self.mean = self.mean + distance * (count / total)
        self.m2 = self.m2 + m2 + np.square(distance) * (self.count * count / total)
        self.count = total

    @np.errstate(invalid="ignore", over="ignore")
    def affine(self, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
        """Fold the norm into scale, shift and mean per channel: (x - mean)·scale + shift is the normalised x.

        The mean is not folded into the shift: x·scale + shift cancels where the spread is small beside the mean.
        """
        members = weight.size // self.mean.size
        deviation = np.sqrt(self.m2 / self.count + eps)
        scale = weight / np.repeat(deviation, members)
        return scale, bias, np.repeat(self.mean, members)
