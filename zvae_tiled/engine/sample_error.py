"""`SampleError`: how far the attention to sampled keys is from the exact one, measured by test queries."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from zvae_tiled.errors import ToleranceError


@dataclass(frozen=True)
class SampleError:
    """The error of the map behind the attention, at the test queries. Errors are shares of the map's RMS.

    The largest error of the whole map may be several times `largest`: few pixels are tested.

    Attributes:
        kept: Keys that are kept.
        keys: Keys of the map.
        queries: Test queries.
        rms: RMS of the errors.
        most: The error that 99 % of the test queries stay below.
        largest: The largest error of a test query.
        gain: RMS of the picture's error, of values in [0, 1], by `rms`: measured by white noise in a crop
            (`engine/amplified.py`). None if it was not measured.
    """

    kept: int
    keys: int
    queries: int
    rms: float
    most: float
    largest: float
    gain: float | None = None

    @classmethod
    def of(cls, errors: np.ndarray, map_behind: np.ndarray, kept: int, keys: int) -> SampleError:
        """Return the figures of errors (queries, channels) of a map."""
        with np.errstate(all="ignore"):
            each = np.sqrt(np.square(errors.astype(np.float64)).mean(axis=1))
            each = np.nan_to_num(each / np.sqrt(np.square(map_behind.astype(np.float64)).mean()), nan=np.inf)
            rms = float(np.sqrt(np.square(each).mean()))
        return cls(kept, keys, len(each), rms, float(np.sort(each)[int(0.99 * (len(each) - 1))]), float(each.max()))

    @property
    def expected_psnr(self) -> float | None:
        """The PSNR in dB to expect in the picture; None if that is unknown."""
        error = 0.0 if self.gain is None else self.gain * self.rms
        return -20 * math.log10(error) if 0 < error < math.inf else None

    def check(self, tolerance: float | None, asked: int) -> None:
        """Refuse an error beyond the tolerance.

        Args:
            tolerance: The largest RMS; None if any will do.
            asked: The most keys that were to be kept.

        Raises:
            ToleranceError: The RMS is larger. The error names the number of keys to take.
        """
        if tolerance is None or self.rms <= tolerance:
            return
        needed = self._needed(tolerance, asked)
        raise ToleranceError(
            f"the attention to {self.kept:,} of {self.keys:,} keys is off by {100 * self.rms:.2g} % of the map (RMS of "
            f"{self.queries:,} test queries), the tolerance is {100 * tolerance:.2g} %",
            f"Take Sampled(keys={needed})."
            if needed < self.keys
            else 'Take quality="exact": no sample is likely to be good enough.',
            needed=needed,
            exact=needed >= self.keys,
            tolerance=tolerance,
        )

    def _needed(self, tolerance: float, asked: int) -> int:
        """Return the keys to take: a power of two. The error falls at least with the root of the number of keys."""
        wanted = max(self.kept * min(self.rms / tolerance, 1e6) ** 2, asked + 1)  # often fewer are kept than asked for
        return int(min(2 ** math.ceil(math.log2(wanted)), self.keys))

    def to_dict(self) -> dict[str, int | float | None]:
        """Return the figures, which `json.dumps` takes as they are."""
        return {**asdict(self), "expected_psnr": self.expected_psnr}

    @property
    def expected(self) -> str:
        """The error of the picture, in words."""
        psnr = self.expected_psnr
        return "unknown" if psnr is None else f"a PSNR of about {psnr:.0f} dB, by white noise in a crop"

    def __str__(self) -> str:
        """Return the error of the map, in two lines."""
        rms, most, largest = (f"{100 * share:.2g} %" for share in (self.rms, self.most, self.largest))
        return (
            f"{self.kept:,} of {self.keys:,} keys; error of the map: RMS {rms}, 99 % below {most}, largest {largest}\n"
            f"at {self.queries:,} test queries; elsewhere the largest may be several times more"
        )
