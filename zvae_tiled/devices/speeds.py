"""`Speeds`: how fast a device computes in one type, and how two of them are fitted to timed convolutions. No MLX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

TYPICAL_FLOPS, TYPICAL_BYTES = 4.5 * 256**2, 6 * 2 * 256
"""What a pixel of a convolution with 256 channels takes, by squares of 6 × 6, on maps of bfloat16."""

NO_LIMIT = 1e18
"""A speed that takes no time. It is also the highest that a file may contain."""


@dataclass(frozen=True)
class Speeds:
    """Speeds of one type. All of them count as the planner does (`planner/cost.py`).

    Attributes:
        convolutions: Operations a second of a convolution's products.
        maps: Bytes a second of the maps that a convolution reads, activates and writes. Its time is the sum of both.
        attention: Operations a second of the attention.
        moments: Bytes a second of a map whose moments are gathered.
        weights: Bytes a second of weights that are prepared.
    """

    convolutions: float
    maps: float
    attention: float
    moments: float
    weights: float

    def __post_init__(self) -> None:
        """Refuse values that cannot have been measured.

        Raises:
            ValueError: A speed is no number, or out of its range.
        """
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} is not a number")
            if not 1.0 <= value <= NO_LIMIT:  # NaN compares false with everything, so it is refused here too
                raise ValueError(f"{name} is not between 1 and {NO_LIMIT:g}")

    def better(self, other: Speeds) -> Speeds:
        """Return the higher speeds of both. The two speeds of a convolution stay together, for they were fitted so."""
        first = self if self._typical() <= other._typical() else other
        rest = {name: max(getattr(self, name), getattr(other, name)) for name in ("attention", "moments", "weights")}
        return Speeds(first.convolutions, first.maps, **rest)

    def _typical(self) -> float:
        return TYPICAL_FLOPS / self.convolutions + TYPICAL_BYTES / self.maps


def fitted(timed: Iterable[tuple[float, float, float]]) -> tuple[float, float]:
    """Return `convolutions` and `maps` that explain the seconds of timed convolutions best.

    Args:
        timed: The operations, bytes and seconds of each. The least squares of relative errors are found, so a cheap
            Step counts as much as an expensive one.
    """
    shares = [(flops / seconds, moved / seconds) for flops, moved, seconds in timed]
    ff, mm = sum(f * f for f, _ in shares), sum(m * m for _, m in shares)
    fm, f1, m1 = sum(f * m for f, m in shares), sum(f for f, _ in shares), sum(m for _, m in shares)
    determinant = ff * mm - fm * fm
    if determinant > 1e-9 * ff * mm:  # else all Steps have one ratio of operations to bytes
        a_flop, a_byte = (f1 * mm - m1 * fm) / determinant, (m1 * ff - f1 * fm) / determinant
        if a_flop > 0 and a_byte > 0:
            return 1 / a_flop, 1 / a_byte
    # One of both explains the times alone: the one that leaves the smaller error.
    return (ff / f1, NO_LIMIT) if f1 * f1 / ff >= m1 * m1 / mm else (NO_LIMIT, mm / m1)
