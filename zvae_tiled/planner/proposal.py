"""`Proposal`: another path of CPU kernels that was faster than the chosen one when this machine was calibrated."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from zvae_tiled.planner.case import ITEMSIZES

LARGEST_RATIO = 1e6
"""The largest valid ratio of two times."""

_NAME = re.compile(r"[a-z0-9_]{1,20}")


@dataclass(frozen=True)
class Proposal:
    """Another path of CPU kernels, which was faster than the chosen one. Only the user can choose it.

    Attributes:
        dtype: Type of the VAE for which it was faster.
        chosen: The path that computes.
        path: The path that was faster, or ``mlx``.
        ratio: Time by the chosen path, divided by the time by the other.
    """

    dtype: str
    chosen: str
    path: str
    ratio: float

    def __post_init__(self) -> None:
        """Refuse values that cannot have been measured.

        Raises:
            ValueError: The type is unknown, a path's name has other characters, or the ratio is out of its range.
        """
        if self.dtype not in ITEMSIZES:
            raise ValueError(f"dtype is {self.dtype!r}")
        for name in (self.chosen, self.path):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a path")
        number = isinstance(self.ratio, int | float) and not isinstance(self.ratio, bool)
        if not number or not 1.0 < self.ratio <= LARGEST_RATIO:
            raise ValueError(f"ratio is not a number above 1: {self.ratio!r}")

    def __str__(self) -> str:
        """Return the proposal as a sentence."""
        return (
            f"{self.dtype}: path {self.path} was {self.ratio:.1f} times as fast as {self.chosen} here: "
            f"ZVAE_KERNELS={self.path} takes it (other bits)"
        )

    @classmethod
    def from_json(cls, values: Any) -> Proposal:
        """Return the proposal from the values of its JSON.

        Raises:
            ValueError: They are not those of a proposal.
        """
        if not isinstance(values, dict) or values.keys() != {each.name for each in fields(cls)}:
            raise ValueError("a proposal has a dtype, two paths and a ratio")
        return cls(**values)
