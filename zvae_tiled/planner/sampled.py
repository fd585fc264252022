"""`Sampled`: a quality whose attention asks a sample of the keys. How many queries find the sample, and test it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from zvae_tiled.checks import shown, whole
from zvae_tiled.errors import PlanError
from zvae_tiled.families import VAEConfig
from zvae_tiled.planner.case import Case

KEYS = 131_072
"""Keys by default: at 16384×16384 pixels they take about as much time as the convolutions."""

LEAST_KEYS = 64
"""The fewest keys. One in each octave of importance is kept in any case, and there may be 40 octaves."""

MOST_KEYS, MOST_TOLERANCE = 1 << 40, 1e6

QUERIES = 4608
"""Queries that are answered exactly, at least, if the map has twice as many pixels."""

TESTS = 8
"""One query in so many tests the sample. The others find it."""


@dataclass(frozen=True)
class Sampled:
    """The attention asks the keys that matter, found by some thousand queries. All else is as in an exact decode.

    A key is kept with a probability, and weighted by its inverse. The probability goes with the largest share of its
    attention that any of the queries gives the key. Each decode measures its error by other queries that are also
    answered exactly (``report.sampled``).

    Attributes:
        keys: The most keys that are kept. If the map has no more, the decode is exact.
        tolerance: The largest error of the map behind the attention (RMS at the test queries), as a share of the map.
            A decode beyond it stops right after the keys are chosen. Default: no limit.
    """

    keys: int = KEYS
    tolerance: float | None = None
    name: ClassVar[str] = "sampled"
    moments: ClassVar[Literal["global"]] = "global"
    ramp: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            PlanError: The number of keys is no whole number, or out of range; or the tolerance is no positive number.
        """
        keys = whole(self.keys)
        if keys is None or not LEAST_KEYS <= keys <= MOST_KEYS:
            raise PlanError(f"keys must be {LEAST_KEYS} to {MOST_KEYS:,}, it is {shown(self.keys)}")
        object.__setattr__(self, "keys", keys)
        if self.tolerance is None:
            return
        number = isinstance(self.tolerance, int | float) and not isinstance(self.tolerance, bool)
        if not number or not 0 < self.tolerance <= MOST_TOLERANCE:  # NaN compares false
            raise PlanError(
                f"tolerance must be a number above 0, and {MOST_TOLERANCE:g} at most, it is {shown(self.tolerance)}",
                "It is a share of the map: 0.005 stands for 0.5 %.",
            )

    def check(self, config: VAEConfig) -> None:
        """Every VAE can be decoded with sampled keys."""

    def kept(self, case: Case) -> int | None:
        """Return the most keys that a decode keeps; None if it keeps all of them, or has no attention."""
        few = self.keys < case.height * case.width and case.chain.attention is not None
        return self.keys if few else None


def asked_rows(height: int, width: int) -> int:
    """Return how many rows of the map's width the queries fill that find the sample and test it."""
    return min(-(-QUERIES // width), -(-height // 2))
