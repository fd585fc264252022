"""Sums: what a linear attention gathers over a whole map, added up row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from zvae_tiled.devices.counted import room
from zvae_tiled.engine.moments import Merged

Array = np.ndarray[Any, np.dtype[np.float64]]


class Sums:
    """The sum of what every row adds to the state of a linear attention.

    Rows are added one after the other, in float64, so the sum does not depend on how they were split into bands.
    """

    def __init__(self, shape: tuple[int, ...], merged: Merged | None = None) -> None:
        """Begin with no rows, or with those that `total` or `blocks` had.

        Args:
            shape: The shape of the state.
            merged: The sums so far, and the number of their rows.
        """
        self._rows = merged.numbers if merged else 0
        self._sum: Array = merged.mean.reshape(shape).copy() if merged and self._rows else np.zeros(shape)

    def add(self, rows: np.ndarray) -> None:
        """Add what some rows add to the state, (rows, *state)."""
        for row in rows:
            self._sum += row
        self._rows += len(rows)

    @property
    def total(self) -> Merged:
        """What all rows gave, in a form that can be saved."""
        return Merged(self._rows, self._sum.reshape(-1), np.empty(0))

    @property
    def blocks(self) -> Merged:
        """No rows: notes inside a sweep are small, so it gathers all rows again after a crash."""
        return Merged(0, np.empty(0), np.empty(0))

    @property
    def block_rows(self) -> int:
        """Rows of these."""
        return 0

    @property
    def state(self) -> np.ndarray:
        """The state, in float32."""
        return self._sum.astype(np.float32)


class RowSums:
    """What some rows of a map add, kept row by row. `Sums.add` adds up those of all rows.

    Attributes:
        rows: What each row adds, (rows, *state), in float32.
    """

    def __init__(self, shape: tuple[int, ...], rows: int) -> None:
        """Make room for so many rows.

        Args:
            shape: The shape of the state.
            rows: How many rows will be added.
        """
        self.rows = room((rows, *shape), np.float32)
        self._kept = 0

    def add(self, rows: np.ndarray) -> None:
        """Keep what more rows add."""
        self.rows[self._kept : self._kept + len(rows)] = rows
        self._kept += len(rows)
