"""Moments: the mean and variance of a whole map, gathered row by row."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


BLOCK = 32
"""Rows that are merged at once. One at a time, Python takes longer than a GPU computes them."""


class Merged(NamedTuple):
    """Numbers in each group, and the mean and the M2 of each group."""

    numbers: int
    mean: Array
    m2: Array

    def to_json(self) -> dict[str, Any]:
        """Return plain values, floats as the text of their bits."""
        return {"numbers": self.numbers, "mean": _text(self.mean), "m2": _text(self.m2)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Merged:
        """Read the values of `to_json`."""
        return cls(int(values["numbers"]), _numbers(values["mean"]), _numbers(values["m2"]))


class Others(NamedTuple):
    """Some rows: mean and M2 of every group of each row, (2, rows, groups), and the numbers of a group in a row."""

    rows: Array
    each: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values, floats as the text of their bits."""
        return {"shape": self.rows.shape, "rows": _text(self.rows), "each": self.each}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Others:
        """Read the values of `to_json`."""
        halves, rows, groups = values["shape"]
        if halves != 2 or not 0 < rows < BLOCK:
            raise ValueError(f"no moments of rows: {values['shape']!s:.50}")
        return cls(_numbers(values["rows"]).reshape(halves, rows, groups), int(values["each"]))


class Moments:
    """Count, mean and M2 (the sum of squared distances from the mean) of every group of channels.

    Rows are gathered into blocks of `BLOCK`, counted from the map's first row, and each block is merged in float64, by
    the formula of Chan, Golub and LeVeque (1979). So the result does not depend on how the rows were split into bands.
    A large mean costs no accuracy, as it would in a sum of squares.
    """

    def __init__(self, groups: int, merged: Merged | None = None) -> None:
        self._merged = merged or Merged(0, np.zeros(groups), np.zeros(groups))
        self._rows: Array = np.empty((2, BLOCK, groups))
        self._waiting = 0
        self._each = 0

    @property
    def count(self) -> int:
        """Numbers in a group."""
        return self.total.numbers

    @property
    def mean(self) -> Array:
        """The mean of each group."""
        return self.total.mean

    @property
    def m2(self) -> Array:
        """The M2 of each group."""
        return self.total.m2

    @property
    def blocks(self) -> Merged:
        """What whole blocks of rows gave. `Moments` goes on from it with the row behind them."""
        return self._merged

    @property
    def block_rows(self) -> int:
        """Rows of these blocks."""
        return self._merged.numbers // self._each if self._each else 0

    @property
    def others(self) -> Others:
        """The rows behind these blocks."""
        return Others(self._rows[:, : self._waiting].copy(), self._each)

    @property
    def total(self) -> Merged:
        """What all rows gave."""
        return _with_rows(self._merged, self._each, self._rows[:, : self._waiting])

    @np.errstate(invalid="ignore", over="ignore")  # the guard reports an overflow at the next convolution
    def add(self, means: Array, m2s: Array, width: int) -> None:
        """Add the moments of some rows.

        Args:
            means: Mean of every channel of every row, (rows, channels).
            m2s: M2 of every channel of every row, (rows, channels).
            width: Pixels per row, the same at each call.
        """
        groups = self._rows.shape[2]
        self.merge(_of_rows(means, m2s, width, groups), width * (means.shape[1] // groups))

    @np.errstate(invalid="ignore", over="ignore")
    def merge(self, rows: Array, each: int) -> None:
        """Merge rows whose moments are known, in the order of the map.

        Args:
            rows: Mean and M2 of every group of each row, (2, rows, groups).
            each: Numbers of a group in a row, the same at each call.
        """
        self._each = each
        while rows.shape[1]:
            taken = min(rows.shape[1], BLOCK - self._waiting)
            self._rows[:, self._waiting : self._waiting + taken] = rows[:, :taken]
            self._waiting, rows = self._waiting + taken, rows[:, taken:]
            if self._waiting == BLOCK:
                self._merged, self._waiting = self.total, 0

    @np.errstate(invalid="ignore", over="ignore")
    def affine(self, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
        """Fold the norm into scale, shift and mean per channel: (x - mean)·scale + shift is the normalised x.

        The mean is not folded into the shift: x·scale + shift cancels where the spread is small beside the mean.
        """
        count, mean, m2 = self.total
        members = weight.size // mean.size
        deviation = np.sqrt(m2 / count + eps)
        scale = weight / np.repeat(deviation, members)
        return scale, bias, np.repeat(mean, members)


class RowMoments(Moments):
    """Moments of some rows of a map, which are kept row by row. `Moments.merge` merges those of all rows.

    Attributes:
        rows: Mean and M2 of every group of each row, (2, rows, groups).
        each: Numbers of a group in a row.
    """

    def __init__(self, groups: int) -> None:
        super().__init__(groups)
        self.rows: Array = np.empty((2, 0, groups))
        self.each = 0

    def merge(self, rows: Array, each: int) -> None:
        """Keep the moments of more rows."""
        self.rows, self.each = np.concatenate([self.rows, rows], axis=1), each


def _of_rows(means: Array, m2s: Array, width: int, groups: int) -> Array:
    """Return mean and M2 of every group of each row (2, rows, groups), from those of every channel."""
    rows, channels = means.shape
    members = channels // groups
    means = means.reshape(rows, groups, members).astype(np.float64)
    m2s = m2s.reshape(rows, groups, members).astype(np.float64)
    row_means = means.mean(axis=2)
    row_m2s = m2s.sum(axis=2) + width * np.square(means - row_means[:, :, None]).sum(axis=2)
    return np.stack([row_means, row_m2s])


def _text(values: Array) -> str:
    return b64encode(values.astype("<f8").tobytes()).decode()


def _numbers(text: str) -> Array:
    return np.frombuffer(b64decode(text), "<f8").astype(np.float64)


@np.errstate(invalid="ignore", over="ignore")
def _with_rows(merged: Merged, each: int, rows: Array) -> Merged:
    """Merge a block of rows (mean and M2, row, group) of `each` numbers."""
    means, m2s = rows
    if not len(means):
        return merged
    mean = means.mean(axis=0)
    m2 = m2s.sum(axis=0) + each * np.square(means - mean).sum(axis=0)
    count = each * len(means)
    total, distance = merged.numbers + count, mean - merged.mean
    return Merged(
        total,
        merged.mean + distance * (count / total),
        merged.m2 + m2 + np.square(distance) * (merged.numbers * count / total),
    )
