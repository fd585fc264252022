"""Planning what is not exact by itself: overlapping tiles, and one sweep with estimated statistics."""

from __future__ import annotations

from dataclasses import dataclass

from zvae_tiled.budget import Budget
from zvae_tiled.chain import Task, decoder_chain
from zvae_tiled.config import VAEConfig
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.plan.cost import Costs, Size
from zvae_tiled.plan.device import Device
from zvae_tiled.plan.ends import SMALL_CHANGE, latent_bytes, picture_bytes
from zvae_tiled.plan.grid import Span, spans
from zvae_tiled.plan.make import check_case, make_plan, make_stage
from zvae_tiled.plan.plan import ITEMSIZES, Medium, Output, Plan, Stage
from zvae_tiled.plan.quality_plan import PROXY_PARTS, QualityPlan, stages_of
from zvae_tiled.plan.request import Request, request_of, tile_sizes
from zvae_tiled.whole import whole

__all__ = ["PROXY", "QualityPlan", "Request", "plan_quality", "plan_task", "request_of"]

PROXY = 64
"""Rows and columns of a proxy's parts, at most: of a picture of 4096², an eighth in each direction."""

PROXY_BAND = 4
"""Rows of a map read at once to make a proxy of it."""


def plan_task(
    config: VAEConfig,
    height: int,
    width: int,
    budget: Budget,
    device: Device,
    dtype: str,
    batch: int,
    output: Output,
    weights: int | None,
    request: Request | None,
    gathered: int = 0,
    task: Task = "decode",
) -> Plan | QualityPlan:
    """Return a plan of the quality asked for; None asks for an exact one.

    Raises:
        PlanError: There is no such quality of this task.
    """
    batch = whole(batch) or batch
    if request is None:
        return make_plan(config, height, width, budget, device, dtype, batch, output, weights, gathered, task)
    if task != "decode":
        raise PlanError(f'quality="{request.quality}" is one of task="decode", the task is {task!r}', "Leave one out.")
    return plan_quality(config, height, width, budget, device, dtype, batch, output, weights, request, gathered)


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
    gathered: int = 0,
) -> QualityPlan:
    """Return the plan with the largest tiles that fit the budget.

    Raises:
        BudgetError: Not even the smallest tiles fit; it names the smallest budget that works.
        PlanError: Tile or overlap do not fit the decoder's scale, or each other.
    """
    request.check(config)
    check_case(config, height, width, device, dtype, batch, output, "decode")
    needed: int | None = None
    for tile in tile_sizes(config, height, width, request):
        for keeps in ("ram", "disk"):
            maker = _Maker(
                config, height, width, budget, device, dtype, batch, output, weights, request, tile, keeps, gathered
            )
            if not maker.possible:
                continue
            try:
                return maker.make()
            except BudgetError as error:
                needed = min(needed or error.needed, error.needed)
    assert needed is not None  # a named tile is possible or refused, and the whole picture always is
    how = f", or let rows stream (vae.stream){'' if request.tile is None else ', or name smaller tiles'}"
    raise BudgetError(
        f"{width * config.scale}x{height * config.scale} in {request.quality} needs at least "
        f"{needed / (1 << 20):,.0f} MiB, the budget is {budget.size / (1 << 20):,.0f} MiB ({budget.source})",
        f'Raise the budget to "{-(-needed // (1 << 20))}MiB"{how if output == "array" else ""}.',
        needed=needed,
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
    gathered: int

    @property
    def possible(self) -> bool:
        """Whether the overlap fits into the tile; a tile nobody named is passed over.

        Raises:
            PlanError: Somebody named the tile.
        """
        if self.keeps == "disk" and self.request.moments == "tile":
            return False  # there is no middle map to keep
        scale = self.config.scale
        for size, tile, both in zip((self.height, self.width), self.tile, self._shared, strict=True):
            if size > tile and both >= tile:
                if self.request.tile is None:
                    return False
                raise PlanError(
                    f"an overlap of {both * scale} pixels does not fit into a tile of {tile * scale}",
                    f"Name an overlap of at most {tile // 2 * scale}, or a larger tile.",
                )
        return True

    def make(self) -> QualityPlan:
        """Plan the stages; all of them, so that an error knows what the hungriest one needs."""
        chain, config, itemsize = decoder_chain(self.config), self.config, ITEMSIZES[self.dtype]
        weights = chain.parameters * itemsize if self.weights is None else self.weights
        held = weights + latent_bytes(config, self.height, self.width, self.batch)
        held += self.height * self.width * config.latent_channels * itemsize  # one picture's, ready for the first Step
        pictures = self.batch * picture_bytes(config, self.height, self.width)
        gathered = pictures if self.output == "array" else self.gathered
        held += gathered
        rows, columns = self._spans()
        known = stages_of(chain, self.request, self.keeps)
        stages: list[tuple[Stage, int, int, int]] = []
        start, factors, reading, spilled = 0, (1, 1), 0, 0
        if self.request.moments != "tile":
            start = chain.middle
            stages.append((known["middle"], self.height, self.width, held))
            kept = Costs(chain, Size(self.height, self.width, itemsize), self.device).cut_bytes(start)
            held += kept if self.keeps == "ram" else 0
            spilled = kept if self.keeps == "disk" else 0
            size, small = (self.height, self.width), 0
            if self.request.moments == "proxy":
                factors = (-(-self.height // PROXY), -(-self.width // PROXY))
            if factors != (1, 1):
                size = (PROXY_PARTS * (self.height // factors[0]), self.width // factors[1])
                small = size[0] * size[1] * chain.channels[start] * itemsize
                reading = held + self._shrinking(*size)
            stages.append((known["statistics"], *size, held + small))
        window = [max(span.high - span.low for span in tiles) for tiles in (rows, columns)]
        held += self._blending(rows, columns, window[1])
        stages.append((known["pixels"], window[0], window[1], held))
        plans = self._plans(stages, reading)
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
            middle=plans[0] if len(plans) > 1 else None,
            statistics=plans[1] if len(plans) > 1 else None,
            factors=factors,
            pixels=plans[-1],
            predicted_peak=max(reading, *(plan.predicted_peak for plan in plans)),
            spilled=max(plans[0].spilled, *(spilled + plan.spilled for plan in plans[1:]), 0),
            weights=weights,
            gathered=gathered,
        )

    def _plans(self, stages: list[tuple[Stage, int, int, int]], reading: int) -> list[Plan]:
        plans, errors = [], []
        if reading > self.budget.size:
            errors.append(BudgetError("a proxy does not fit the budget", needed=reading))
        for stage, height, width, held in stages:
            try:
                plans.append(make_stage(self.config, height, width, self.budget, self.device, self.dtype, stage, held))
            except BudgetError as error:
                errors.append(error)
        if errors:
            raise max(errors, key=lambda error: error.needed)
        return plans

    @property
    def _shared(self) -> tuple[int, int]:
        """What neighbours share, rows and columns, in latents."""
        chain, scale = decoder_chain(self.config), self.config.scale
        if self.request.overlap is not None:
            return self.request.overlap[0] // scale, self.request.overlap[1] // scale
        if self.request.moments == "tile":  # exact it cannot be: 64 pixels, as mflux has it
            usual = max(1, 64 // scale)
            return min(self.tile[0] // 4, usual), min(self.tile[1] // 4, usual)
        reach = chain.reach(chain.middle)
        return reach, reach

    def _spans(self) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        chain = decoder_chain(self.config)
        reach = 0 if self.request.moments == "tile" else chain.reach(chain.middle)
        rows, columns = (
            spans(size, tile, both, min(reach, both))
            for size, tile, both in zip((self.height, self.width), self.tile, self._shared, strict=True)
        )
        return rows, columns

    def _shrinking(self, rows: int, columns: int) -> int:
        """Bytes while a map is made into a proxy of this size."""
        channels, itemsize = (
            decoder_chain(self.config).channels[decoder_chain(self.config).middle],
            ITEMSIZES[self.dtype],
        )
        line = self.width * channels
        # Rows joined and as float32, a row's moments in float64, the proxy as float32 and as it is stored.
        return line * (PROXY_BAND * (2 * itemsize + 4) + 24) + rows * columns * channels * (4 + itemsize + 4)

    def _blending(self, rows: tuple[Span, ...], columns: tuple[Span, ...], window: int) -> int:
        """Bytes of tiles that are added up, of rows on their way, and of the map's rows a tile is cut from."""
        chain, config = decoder_chain(self.config), self.config
        scale, band = config.scale, self.device.band_rows
        cut = 2 * band * self.width * chain.channels[chain.middle] * ITEMSIZES[self.dtype]
        if len(rows) == len(columns) == 1:
            return cut if self.request.moments == "tile" else 0  # rows go straight on
        line = self.width * scale * config.out_channels * 4
        tall = max(span.stop - span.start for span in rows) * scale
        shared = self._shared[0] * scale if len(rows) > 1 else 0  # copied from one row of tiles to the next
        # A band of a tile as float32 and times its weights; a band of the picture on its way to the sink.
        pixels = band * scale * (4 * window * scale * config.out_channels * 4 + 4 * line)
        return (tall + shared) * line + pixels + cut + SMALL_CHANGE
