"""`Plan`: how a decode or an encode will run, and what it will cost. It can be printed, saved, compared, replayed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from zvae_tiled.devices.base import Device
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.grid import Grid, Span
from zvae_tiled.planner.measured import MEASURED
from zvae_tiled.planner.quality import Quality, Stream, Whole, kept_keys
from zvae_tiled.planner.stage import Stage, Sweep
from zvae_tiled.planner.storage import ANYWHERE, Storage

LOOKS = {
    "global": "",
    "proxy": ", a shift of tone",
    "stream": ", a shift of tone",
    "tile": ", colours differ by tile",
}
"""Visible differences to add to a PSNR, by the source of the moments."""

MEASURED_FAMILIES = ("AutoencoderKL", "AutoencoderKLFlux2")
"""Families whose network is that of the VAE that was measured."""


@dataclass(frozen=True)
class Plan:
    """How a decode or an encode will run, and what it will cost.

    Attributes:
        case: The decode or encode, and its device.
        quality: The quality: `Exact`, `Sampled`, `Tiles` or `Stream`.
        budget: Bytes it may use.
        grid: The tiles. An exact decode has one.
        factors: How many rows and columns of the map are averaged into one of the proxy; (1, 1) without a proxy.
        stages: The stages of one picture, in order. The last one, ``pixels``, runs once for each tile.
        predicted_peak: The most bytes alive at once.
        spilled: The most bytes on disk at once.
        weights: Bytes of weights, included in the peak.
        gathered: Bytes of finished rows, included in the peak: the pictures, or the rows that a file gathers.
        storage: Where its maps may be stored.
        device: The device of the predictions; None in a plan from a pickle. Plans that differ in it are equal.
    """

    case: Case
    quality: Quality
    budget: int
    grid: Grid
    factors: tuple[int, int]
    stages: tuple[Stage, ...]
    predicted_peak: int = 0
    spilled: int = 0
    weights: int = 0
    gathered: int = 0
    storage: Storage = ANYWHERE
    device: Device | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds. A device has functions, which cannot be pickled."""
        return {**vars(self), "device": None}

    @property
    def pixels(self) -> Stage:
        """The stage that computes pixels: the decode of the largest tile."""
        return self.stages[-1]

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """The sweeps of all stages."""
        return tuple(sweep for stage in self.stages for sweep in stage.sweeps)

    @property
    def sweep_count(self) -> int:
        """Number of sweeps of one picture, in all its tiles."""
        return sum(len(stage.sweeps) for stage in self.stages[:-1]) + self.grid.count * len(self.pixels.sweeps)

    @property
    def predicted_flops(self) -> int:
        """Multiplications and additions of the whole batch."""
        before = sum(stage.flops for stage in self.stages[:-1])
        all_tiles = self.pixels.flops * self.grid.area // self._largest
        return self.case.batch * (before + all_tiles)

    @property
    def predicted_seconds(self) -> float:
        """Time for the whole batch on this device, by its calibrated or default speeds."""
        return self.time_of(lambda sweep: sweep.seconds)

    def time_of(self, part: Callable[[Sweep], float]) -> float:
        """Return the time that a part of each sweep takes, in seconds, for the whole batch in all its tiles."""
        before = sum(part(sweep) for stage in self.stages[:-1] for sweep in stage.sweeps)
        tile = sum(part(sweep) for sweep in self.pixels.sweeps)
        return self.case.batch * (before + tile * self.grid.area / self._largest)

    @property
    def extra_flops(self) -> float:
        """Flops that compute something a second time, as a share of those needed."""
        needed = sum(stage.needed_flops for stage in self.stages)
        return sum(stage.flops for stage in self.stages) / needed - 1 if needed else 0.0

    @property
    def seams(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Pixel rows and columns, in the middle of each overlap, where a seam would be."""
        scale = self.case.config.scale

        def between(tiles: tuple[Span, ...]) -> tuple[int, ...]:
            return tuple((a.stop + b.start) * scale // 2 for a, b in pairwise(tiles))

        return between(self.grid.rows), between(self.grid.columns)

    @property
    def exact(self) -> bool:
        """Whether the result is that of a full decode, to rounding."""
        if isinstance(self.quality, Whole):
            return self.sampled is None
        if self.quality.moments == "tile" and self.case.chain.barriers:
            return self.grid.count == 1
        chain, shared = self.case.chain, self.grid.shared
        whole = self._whole_moments or not chain.barriers
        return whole and (shared is None or shared >= chain.reach(chain.middle))

    @property
    def sampled(self) -> int | None:
        """The most keys that the attention keeps; None if it keeps all."""
        return kept_keys(self.quality, self.case)

    @property
    def statistics(self) -> str:
        """Which map the norms' statistics and the attention are computed on, in words."""
        if isinstance(self.quality, Whole):
            return "the whole picture" if self.sampled is None else f"the whole picture; {self._sample}"
        if not self.case.chain.barriers:
            reach = self.case.chain.reach(self.case.chain.middle) * self.case.config.scale
            return f"each tile by itself, exact from an overlap of {reach} pixels"
        if self._whole_moments:
            return "moments of the whole picture; middle block on the whole map"
        if self.quality.moments == "tile":
            return "moments and middle block of each tile by itself"
        return f"moments of a proxy ({self.factors[0]}x{self.factors[1]} averaged); middle block: whole map"

    @property
    def expected_error(self) -> str:
        """The error measured for such a plan on one picture, in words; ``rounding`` if the plan is exact."""
        if self.exact:
            return "rounding"
        if self.sampled is not None:
            return "measured in each decode, by queries that are answered exactly"
        if self.case.config.class_name not in MEASURED_FAMILIES:
            return "unknown: not measured for this VAE"
        source, overlap, psnr = self._measured
        seams = ", seams" if overlap < 2 and source != "stream" else ""
        return f"a PSNR of {psnr:.0f} dB{LOOKS[source]}{seams} (measured once)"

    @property
    def expected_psnr(self) -> float | None:
        """The PSNR in dB that was measured for such plans; None if the plan is exact, or its VAE was not measured."""
        unknown = self.exact or self.sampled is not None or self.case.config.class_name not in MEASURED_FAMILIES
        return None if unknown else self._measured[2]

    @property
    def digest(self) -> str:
        """Twelve characters that identify what the plan executes. Budget and predictions do not change them."""
        executed = [
            asdict(replace(self.case, output="rows")),
            self.quality.name,
            asdict(self.quality),
            asdict(self.grid),
            self.factors,
            [[stage.name, stage.keeps, *(sweep.executed for sweep in stage.sweeps)] for stage in self.stages],
        ]
        return hashlib.sha256(json.dumps(executed, sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        """Return the plan as JSON. `zvae_tiled.read_plan` reads it back."""
        from zvae_tiled.planner.files import written

        return written(self)

    def __str__(self) -> str:
        """Return what the plan does and costs, in at most ten lines of 80 columns."""
        from zvae_tiled.planner.summary import summary

        return summary(self)

    def table(self) -> str:
        """Return a table with one line for each sweep, in at most 110 columns."""
        from zvae_tiled.planner.table import table

        return table(self)

    @property
    def _sample(self) -> str:
        return f"at most {self.sampled:,} of {self.case.height * self.case.width:,} keys"

    @property
    def _largest(self) -> int:
        """Number of latents in the largest tile."""
        return self.pixels.height * self.pixels.width

    @property
    def _measured(self) -> tuple[str, int, float]:
        """The row of the table of measured errors that fits: source of the moments, overlap in latents, PSNR in dB."""
        source = "stream" if isinstance(self.quality, Stream) else self.quality.moments
        source = "global" if self._whole_moments else source
        levels = MEASURED[source]
        overlap = max(levels) if self.grid.shared is None else self.grid.shared
        return source, overlap, levels[max(least for least in levels if least <= overlap)]

    @property
    def _whole_moments(self) -> bool:
        """Whether moments are those of the whole map. The proxy of a small map is the map itself."""
        return self.quality.moments == "global" or (self.quality.moments == "proxy" and self.factors == (1, 1))
