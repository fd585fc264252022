"""Plans that are not exact by themselves: overlapping tiles, and one sweep with estimated statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from zvae_tiled.budget import Budget
from zvae_tiled.chain import decoder_chain
from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.plan.cost import Costs, Size
from zvae_tiled.plan.device import Device
from zvae_tiled.plan.grid import RAMPS, Span, spans
from zvae_tiled.plan.make import ITEMSIZES, SMALL_CHANGE, latent_bytes, make_stage, picture_bytes
from zvae_tiled.plan.plan import Medium, Output, Plan, Stage

Quality = Literal["exact", "stream", "tiles"]
Statistics = Literal["global", "proxy", "tile"]

TILES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128)
"""Sizes in pixels to try, after the whole picture."""

PROXY = 64
"""Rows and columns of a proxy, at most: of a picture of 4096², an eighth in each direction."""


@dataclass(frozen=True)
class Request:
    """What somebody asks for beyond a budget.

    Attributes:
        quality: ``tiles`` or ``stream``.
        tile: Tile in pixels, rows and columns; None for the largest that fits.
        overlap: What neighbours share, in pixels, rows and columns; None for as much as makes tiles exact.
        ramp: How weights grow across an overlap.
        moments: Where the norms' statistics come from.
    """

    quality: Quality
    tile: tuple[int, int] | None = None
    overlap: tuple[int, int] | None = None
    ramp: str = "smootherstep"
    moments: Statistics = "global"


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
        factor: Side of the squares a proxy averages.
        pixels: The decode of the largest tile.
        predicted_peak: The most bytes alive at once.
        spilled: The most bytes on disk at once.
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
    factor: int
    pixels: Plan
    predicted_peak: int
    spilled: int

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
    def exact(self) -> bool:
        """Whether it gives what a full decode gives, to rounding."""
        whole = len(self.rows) == len(self.columns) == 1
        chain = decoder_chain(self.config)
        context = min(
            (a.stop - b.start for tiles in (self.rows, self.columns) for a, b in pairwise(tiles)),
            default=0,
        )
        if self.request.moments == "tile":
            return whole
        return self.request.moments == "global" and (whole or context >= chain.reach(chain.middle))

    @property
    def statistics_source(self) -> str:
        """Where statistics and attention come from, in words."""
        return {
            "global": "moments of the whole picture; middle block on the whole map",
            "proxy": f"moments of a proxy, {self.factor}x{self.factor} averaged; middle block on the whole map",
            "tile": "moments and middle block of each tile by itself",
        }[self.request.moments]

    @property
    def digest(self) -> str:
        """Twelve letters that name this plan."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        """Render it as text."""
        scale, tile = self.config.scale, self.pixels
        lines = [
            f"{self.batch} x {self.width * scale}x{self.height * scale} {self.request.quality}, "
            f"{self.dtype} on {self.device}",
            f"{len(self.rows)} x {len(self.columns)} tiles of at most {tile.width * scale}x{tile.height * scale} read; "
            f"{self.request.ramp} ramp; {self.statistics_source}",
            f"budget {self.budget / (1 << 20):,.1f} MiB, predicted peak {self.predicted_peak / (1 << 20):,.1f} MiB",
            f"{self.predicted_flops / 1e12:,.2f} TFLOP, about {self.predicted_seconds:,.0f} s, plan {self.digest}",
        ]
        return "\n".join(lines)


def plan_quality(
    config: VAEConfig,
    height: int,
    width: int,
    budget: Budget,
    device: Device,
    dtype: str,
    batch: int,
    output: Output,
    weights: int | None,
    request: Request,
) -> QualityPlan:
    """Return the plan with the largest tiles that fit the budget.

    Raises:
        BudgetError: Not even the smallest tiles fit.
        PlanError: Tile or overlap do not fit the decoder's scale, or each other.
    """
    if request.ramp not in RAMPS:
        raise PlanError(f"ramp must be one of {', '.join(RAMPS)}, it is {request.ramp!r}")
    if request.moments not in ("global", "proxy", "tile"):
        raise PlanError(f"moments must be global, proxy or tile, it is {request.moments!r}")
    needed = None
    for tile in _candidates(config, height, width, request):
        for keeps in ("ram", "disk"):
            maker = _Maker(config, height, width, budget, device, dtype, batch, output, weights, request, tile, keeps)
            try:
                return maker.make()
            except BudgetError as error:
                needed = min(needed or error.needed, error.needed)
    raise BudgetError(
        f"{width * config.scale}x{height * config.scale} in {request.quality} does not fit the budget of "
        f"{budget.size / (1 << 20):,.0f} MiB ({budget.source}); it needs about {(needed or 0) / (1 << 20):,.0f} MiB",
        "Raise the budget, name smaller tiles, or let rows stream (vae.stream).",
        needed=needed or 0,
    )


@dataclass(frozen=True)
class _Maker:
    """Makes the plan for one tile size and one place of the middle map."""

    config: VAEConfig
    height: int
    width: int
    budget: Budget
    device: Device
    dtype: str
    batch: int
    output: Output
    weights: int | None
    request: Request
    tile: tuple[int, int]
    keeps: Medium

    def make(self) -> QualityPlan:
        chain, config = decoder_chain(self.config), self.config
        own = self.request.moments == "tile"
        own_weights = chain.parameters * ITEMSIZES[self.dtype] if self.weights is None else self.weights
        held = own_weights + latent_bytes(config, self.height, self.width, self.dtype, self.batch)
        if self.output == "array":
            held += self.batch * picture_bytes(config, self.height, self.width)
        rows, columns = self._spans()
        middle = statistics = None
        start, factor = chain.middle, 1
        kept = Costs(chain, Size(self.height, self.width, ITEMSIZES[self.dtype]), self.device).cut_bytes(start)
        after = held + (kept if self.keeps == "ram" else 0)
        if own:
            start, after = 0, held
        else:
            whole = (self.height, self.width)
            middle = self._stage(Stage(stop=start, keeps=self.keeps), *whole, held)
            ahead = Stage(start, chain.barriers[-1], known=tuple(cut for cut in chain.barriers if cut <= start))
            if self.request.moments == "proxy":
                factor = max(1, -(-max(whole) // PROXY))
                whole = (max(1, self.height // factor), max(1, self.width // factor))
                # Read a few rows at a time, as float32 on the host.
                after += 3 * factor * self.width * chain.channels[start] * 8
            statistics = self._stage(ahead, *whole, after)
        window = [max(span.high - span.low for span in tiles) for tiles in (rows, columns)]
        after += self._blending(rows, window[1])
        pixels = self._stage(Stage(start, known=() if own else chain.barriers), window[0], window[1], after)
        plans = [plan for plan in (middle, statistics, pixels) if plan is not None]
        on_disk = kept if self.keeps == "disk" and not own else 0
        return QualityPlan(
            request=self.request,
            config=config,
            height=self.height,
            width=self.width,
            batch=self.batch,
            dtype=self.dtype,
            device=self.device.name,
            output=self.output,
            budget=self.budget.size,
            rows=rows,
            columns=columns,
            middle=middle,
            statistics=statistics,
            factor=factor,
            pixels=pixels,
            predicted_peak=max(plan.predicted_peak for plan in plans),
            spilled=on_disk + max(plan.spilled for plan in plans),
        )

    def _stage(self, stage: Stage, height: int, width: int, held: int) -> Plan:
        return make_stage(self.config, height, width, self.budget, self.device, self.dtype, stage, held)

    def _spans(self) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        chain, scale = decoder_chain(self.config), self.config.scale
        reach = chain.reach(chain.middle)
        overlap = self.request.overlap
        shared = (reach, reach) if overlap is None else (overlap[0] // scale, overlap[1] // scale)
        if overlap is None and self.request.moments == "tile":
            shared = (min(self.tile[0] // 4, 8), min(self.tile[1] // 4, 8))  # 64 pixels, as most peers have it
        found = []
        for size, tile, both in zip((self.height, self.width), self.tile, shared, strict=True):
            if size > tile and both >= tile:
                raise PlanError(
                    f"an overlap of {both * scale} pixels does not fit into a tile of {tile * scale}",
                    f"Name an overlap of at most {tile // 2 * scale}, or a larger tile.",
                )
            context = 0 if self.request.moments == "tile" else min(reach, both)
            found.append(spans(size, tile, both, context))
        return found[0], found[1]

    def _blending(self, rows: tuple[Span, ...], window: int) -> int:
        """Bytes of tiles that are added up, of rows on their way, and of the map's rows a tile is cut from."""
        chain, scale = decoder_chain(self.config), self.config.scale
        line = self.width * scale * self.config.out_channels * 4
        tall = max(span.stop - span.start for span in rows) * scale
        again = tall if len(rows) > 1 else 0  # what overlaps the next row of tiles is copied over
        pixels = 4 * self.device.band_rows * scale * window * scale * self.config.out_channels * 4
        cut = self.device.band_rows * self.width * chain.channels[chain.middle] * ITEMSIZES[self.dtype]
        return (tall + again) * line + pixels + 2 * cut + SMALL_CHANGE


def _candidates(config: VAEConfig, height: int, width: int, request: Request) -> Iterator[tuple[int, int]]:
    """Yield tile sizes in latents, largest first."""
    scale = config.scale
    for name, pair in (("tile", request.tile), ("overlap", request.overlap)):
        for pixels in pair or ():
            if (
                isinstance(pixels, bool)
                or not isinstance(pixels, int)
                or pixels < 0
                or pixels % scale
                or (name == "tile" and not pixels)
            ):
                near = (
                    max(scale if name == "tile" else 0, round(pixels / scale) * scale)
                    if isinstance(pixels, int)
                    else scale
                )
                raise PlanError(
                    f"{name} must be a multiple of {scale} pixels, it is {pixels!r}", f"The nearest is {near}."
                )
    if request.quality == "stream":
        yield height, width
    elif request.tile is not None:
        yield request.tile[0] // scale, request.tile[1] // scale
    else:
        yield height, width
        for pixels in TILES:
            latents = max(1, pixels // scale)
            if latents < max(height, width):
                yield latents, latents


def request_of(
    quality: str,
    tile: int | tuple[int, int] | None,
    overlap: int | tuple[int, int] | None,
    ramp: str | None,
    moments: str | None,
) -> Request | None:
    """Read what somebody asked for; None means an exact decode.

    Raises:
        PlanError: The quality is unknown, or an argument has no meaning for it.
    """
    if quality not in ("exact", "stream", "tiles"):
        raise PlanError(f"quality must be exact, stream or tiles, it is {quality!r}")
    given = {"tile": tile, "overlap": overlap, "ramp": ramp, "moments": moments}
    named = [name for name, value in given.items() if value is not None]
    if quality != "tiles" and named:
        problem = f'{", ".join(named)} given, but quality="{quality}" has no tiles'
        raise PlanError(problem, 'Leave them out, or say quality="tiles".')
    if quality == "exact":
        return None
    if quality == "stream":
        return Request("stream", moments="proxy")
    return Request("tiles", _pair("tile", tile), _pair("overlap", overlap), ramp or "smootherstep", moments or "global")  # type: ignore[arg-type]


def _pair(name: str, value: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if value is None or isinstance(value, int):
        return None if value is None else (value, value)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise PlanError(f"{name} must be a number of pixels, or two (height and width), it is {value!r}")
    return value[0], value[1]
