"""What a search for sweeps looks for: the least time within a budget, or the least memory or disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from zvae_tiled.planner.leg import Leg
from zvae_tiled.planner.stage import Sweep


class Aim(Protocol):
    """What a search looks for."""

    def least(self, score: float, leg: Leg, ladder: list[int]) -> float:
        """Return a score that no choice for `leg` is below, after sweeps with `score`."""

    def choose(self, leg: Leg, ladder: list[int], grain: int) -> Sweep | None:
        """Return the best sweep of the band heights in `ladder`; None if none will do."""

    def score(self, score: float, sweep: Sweep) -> float:
        """Return the score of a sweep after sweeps with `score`. The smallest is the best."""


@dataclass(frozen=True)
class Fastest:
    """The least time within a budget."""

    budget: int

    def least(self, score: float, leg: Leg, ladder: list[int]) -> float:
        """Return the time with the tallest bands, which no others are below."""
        return score + leg.seconds(ladder[0])

    def choose(self, leg: Leg, ladder: list[int], grain: int) -> Sweep | None:
        """Return the sweep with the tallest bands that fit."""
        del grain
        # Larger bands are never slower, so the first that fits is the fastest. Weights are prepared anew for each band
        # only if nothing else fits.
        choices = ((rows, anew) for anew in (False, True) for rows in ladder)
        return next((leg.sweep(*choice) for choice in choices if leg.peak(*choice) <= self.budget), None)

    def score(self, score: float, sweep: Sweep) -> float:
        """Return the time of all sweeps."""
        return score + sweep.seconds


@dataclass(frozen=True)
class Leanest:
    """The smallest peak, or the least disk."""

    what: Literal["peak", "disk"]
    band_rows: int

    def least(self, score: float, leg: Leg, ladder: list[int]) -> float:
        """Return the score before, or the bytes on disk if those are more: bands do not change them."""
        del ladder
        return max(score, leg.disk) if self.what == "disk" else score

    def choose(self, leg: Leg, ladder: list[int], grain: int) -> Sweep | None:
        """Return the sweep with the smallest peak."""
        # Bands of one row, or of a grain, need least. A map of a few rows may need less in one band: its short ladder
        # is tried whole.
        lean = ladder if ladder[0] < self.band_rows else [rows for rows in ladder if rows <= grain]
        choices = [(rows, anew) for anew in (False, True) for rows in lean]
        return leg.sweep(*min(choices, key=lambda choice: leg.peak(*choice)))

    def score(self, score: float, sweep: Sweep) -> float:
        """Return the bytes of the largest sweep."""
        return max(score, sweep.peak if self.what == "peak" else sweep.disk)
