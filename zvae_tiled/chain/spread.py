"""`Spread`: a skip without weights, brought to the shape of what it is added to. No MLX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Repeats neighbouring values of a skip, or averages them, until it has the output's shape.

    The values of a pixel of the smaller map are listed in the order channel, frame, row, column: of the larger map it
    has 2×2 pixels. The shorter of the lists of skip and output is repeated, each value as often as the next; or the
    longer one is averaged in groups. Of several frames, a picture is the last; the others are zeros.

    Attributes:
        inputs: Channels of the skip.
        outputs: Channels of the output.
        up: 2 if the output has twice the rows and columns of the skip.
        down: 2 if it has half of them.
        frames: Frames that a video has in the list: 1, or 2.
    """

    inputs: int
    outputs: int
    up: int = 1
    down: int = 1
    frames: int = 1

    def __post_init__(self) -> None:
        """Refuse channels that do not fit.

        Raises:
            ValueError: They do not.
        """
        if self.long % self.short or (self.up > 1 and self.averages) or (self.down > 1 and not self.averages):
            raise ValueError(f"{self.inputs} channels cannot be spread to {self.outputs}: {self.short} and {self.long}")

    @property
    def _lists(self) -> tuple[int, int]:
        """The lengths of the lists of the skip and of the output."""
        return (
            self.inputs * (self.frames * 4 if self.down > 1 else 1),
            self.outputs * (self.frames * 4 if self.up > 1 else 1),
        )

    @property
    def long(self) -> int:
        """The length of the longer list."""
        return max(self._lists)

    @property
    def short(self) -> int:
        """The length of the shorter list."""
        return min(self._lists)

    @property
    def averages(self) -> bool:
        """Whether values are averaged, not repeated."""
        skip, output = self._lists
        return skip > output or (self.down > 1 and skip == output)

    @property
    def group(self) -> int:
        """How many values are averaged, or how often each is repeated."""
        return self.long // self.short

    @cached_property
    def sources(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The channel of the skip that each output is: (row, column, channel) of the output."""
        listed = (np.arange(self.long) // self.group).reshape(self.outputs, -1, self.up, self.up)
        return np.ascontiguousarray(listed[:, -1].transpose(1, 2, 0))

    @cached_property
    def members(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The values that are averaged: (output, member), or -1 for a zero.

        A value is numbered by its channel, row and column, as if there were one frame.
        """
        cell = self.down**2
        own = np.full((self.inputs, self.long // (self.inputs * cell), cell), -1)
        own[:, -1] = np.arange(self.inputs * cell).reshape(self.inputs, cell)
        return own.reshape(self.outputs, self.group)

    @cached_property
    def used(self) -> list[int]:
        """The channels of the skip that the output depends on."""
        if not self.averages:
            return sorted(set(self.sources.reshape(-1).tolist()))
        return sorted({member // self.down**2 for member in self.members.reshape(-1).tolist() if member >= 0})
