"""`QualityPlan`: tiles, or one sweep with estimated statistics; what it costs, and what it gives up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from zvae_tiled.chain import Chain, Task, decoder_chain
from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import PlanError
from zvae_tiled.plan.grid import Span
from zvae_tiled.plan.measured import MEASURED
from zvae_tiled.plan.plan import Medium, Output, Plan, Stage
from zvae_tiled.plan.request import Request

PROXY_PARTS = 2
"""Maps a proxy is made of, one above the other: squares averaged, and squares cut out (`engine/proxy.py`)."""

LOOKS = {
    "global": "",
    "proxy": ", a shift of tone",
    "stream": ", a shift of tone",
    "tile": ", colours that differ from tile to tile",
}
"""What is seen beside a PSNR, by where moments come from."""


@dataclass(frozen=True)
class QualityPlan:
    """How latents are decoded in tiles, or in one sweep.

    Attributes:
        request: What was asked for.
        config: The VAE.
        height: Rows of the latents.
        width: Columns of the latents.
        batch: Latents in the batch.
        dtype: The VAE's type.
        device: ``cpu``, ``metal`` or ``cuda``.
        output: ``array`` or ``rows``.
        budget: Bytes the decode may use.
        rows: The tiles' spans from top to bottom, in latents.
        columns: Their spans from left to right.
        middle: From the latents to the middle block's end, for the whole map; None if each tile has its own.
        statistics: The pass that gathers moments, of the map or of a proxy; None if each tile has its own.
        factors: Rows and columns of the map for one of the proxy's; (1, 1) where there is none.
        pixels: The decode of the largest tile.
        predicted_peak: The most bytes alive at once.
        spilled: The most bytes on disk at once.
        weights: Bytes of weights that the peak counts.
        gathered: Bytes of finished rows that it counts: the pictures, or what a file gathers.
    """

    request: Request
    config: VAEConfig
    height: int
    width: int
    batch: int
    dtype: str
    device: str
    output: Output
    budget: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    middle: Plan | None
    statistics: Plan | None
    factors: tuple[int, int]
    pixels: Plan
    predicted_peak: int
    spilled: int
    weights: int
    gathered: int

    @property
    def task(self) -> Task:
        """What is planned: an encode is always exact."""
        return "decode"

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The plans of its stages."""
        return tuple(plan for plan in (self.middle, self.statistics, self.pixels) if plan is not None)

    @property
    def sweep_count(self) -> int:
        """Sweeps of one picture, of all tiles."""
        tiles = len(self.rows) * len(self.columns)
        return sum(plan.sweep_count for plan in self.plans[:-1]) + tiles * self.pixels.sweep_count

    @cached_property
    def _tiles(self) -> float:
        """How many of the largest tile all tiles are worth."""
        area = sum((row.high - row.low) * (column.high - column.low) for row in self.rows for column in self.columns)
        return area / (self.pixels.height * self.pixels.width)

    @property
    def predicted_flops(self) -> int:
        """Multiplications and additions of the whole batch."""
        before = sum(plan.predicted_flops for plan in self.plans[:-1])
        return self.batch * int(before + self.pixels.predicted_flops * self._tiles)

    @property
    def predicted_seconds(self) -> float:
        """Time for the whole batch."""
        before = sum(plan.predicted_seconds for plan in self.plans[:-1])
        return self.batch * (before + self.pixels.predicted_seconds * self._tiles)

    @property
    def seams(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Pixel rows and columns, in the middle of each overlap, where a seam would be."""
        scale = self.config.scale

        def between(tiles: tuple[Span, ...]) -> tuple[int, ...]:
            return tuple((a.stop + b.start) * scale // 2 for a, b in pairwise(tiles))

        return between(self.rows), between(self.columns)

    @property
    def overlap(self) -> int | None:
        """The fewest latents that neighbouring tiles share; None if there is one tile."""
        return min((a.stop - b.start for tiles in (self.rows, self.columns) for a, b in pairwise(tiles)), default=None)

    @property
    def exact(self) -> bool:
        """Whether it gives what a full decode gives, to rounding."""
        if self.request.moments == "tile":
            return self.overlap is None
        chain = decoder_chain(self.config)
        return self._whole_moments and (self.overlap is None or self.overlap >= chain.reach(chain.middle))

    @property
    def _whole_moments(self) -> bool:
        """Whether moments are those of the whole map; of a small one, the proxy is the map itself."""
        return self.request.moments == "global" or (self.request.moments == "proxy" and self.factors == (1, 1))

    @property
    def statistics_source(self) -> str:
        """Where statistics and attention come from, in words."""
        if self._whole_moments:
            return "moments of the whole picture; middle block on the whole map"
        return {
            "proxy": f"moments of a proxy, {self.factors[0]}x{self.factors[1]} for one; middle block on the whole map",
            "tile": "moments and middle block of each tile by itself",
        }[self.request.moments]

    @property
    def expected_error(self) -> str:
        """What plans like this one gave in docs/quality.md, in words; ``rounding`` if it is exact."""
        if self.exact:
            return "rounding"
        source = "stream" if self.request.quality == "stream" else self.request.moments
        source = "global" if self._whole_moments else source
        levels = MEASURED[source]
        overlap = max(levels) if self.overlap is None else self.overlap
        found = levels[max(least for least in levels if least <= overlap)]
        seams = ", seams" if overlap < 2 and source != "stream" else ""
        return f"a PSNR of {found:.0f} dB{LOOKS[source]}{seams}, where it was measured (docs/quality.md)"

    @property
    def digest(self) -> str:
        """Twelve letters that name this plan."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    def holding(self, weights: int, gathered: int) -> QualityPlan:
        """Return the plan with so many more bytes of weights, and of finished rows."""
        return replace(
            self,
            predicted_peak=self.predicted_peak + weights + gathered,
            weights=self.weights + weights,
            gathered=self.gathered + gathered,
        )

    def to_json(self) -> str:
        """Return the plan as JSON."""
        from zvae_tiled.plan.saved import saved

        return saved(self)

    @classmethod
    def from_json(cls, text: str) -> QualityPlan:
        """Read the plan of tiles or of one sweep back; `zvae_tiled.read_plan` reads one of any quality.

        Raises:
            PlanError: The text is no such plan, or of another version.
        """
        from zvae_tiled.plan.saved import read_plan

        found = read_plan(text)
        if not isinstance(found, cls):
            raise PlanError("this is the plan of an exact decode", "Read it with zvae_tiled.read_plan.")
        return found

    def check(self) -> None:
        """Refuse a plan that would not give every pixel, or not what it says it gives.

        Raises:
            PlanError: Its grid, its stages or its predictions do not belong together.
        """
        from zvae_tiled.plan.quality_check import check_quality_plan

        check_quality_plan(self)

    def __str__(self) -> str:
        """Render it as text."""
        scale, tile = self.config.scale, self.pixels
        lines = [
            f"{self.batch} x {self.width * scale}x{self.height * scale} {self.request.quality}, "
            f"{self.dtype} on {self.device}",
            f"{len(self.rows)} x {len(self.columns)} tiles of at most {tile.width * scale}x{tile.height * scale} read; "
            f"{self.request.ramp} ramp; {self.statistics_source}",
            f"expected error: {self.expected_error}",
            f"budget {self.budget / (1 << 20):,.1f} MiB, predicted peak {self.predicted_peak / (1 << 20):,.1f} MiB",
            f"{self.predicted_flops / 1e12:,.2f} TFLOP, about {self.predicted_seconds:,.0f} s, plan {self.digest}",
        ]
        return "\n".join(lines)


def stages_of(chain: Chain, request: Request, keeps: Medium | None) -> dict[str, Stage]:
    """Return the stages of a decode by their names, as `QualityPlan` has them.

    Args:
        chain: The decoder's Chain.
        request: What was asked for.
        keeps: Where the middle block's map is kept.
    """
    if request.moments == "tile":
        return {"pixels": Stage()}
    middle, last = chain.middle, chain.barriers[-1]
    return {
        "middle": Stage(stop=middle, keeps=keeps),
        "statistics": Stage(middle, last, known=tuple(cut for cut in chain.barriers if cut <= middle)),
        "pixels": Stage(middle, known=chain.barriers),
    }
