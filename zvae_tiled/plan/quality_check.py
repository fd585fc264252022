"""Whether a `QualityPlan` that was read, or put together by hand, is one that gives every pixel what it says."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.chain import decoder_chain
from zvae_tiled.errors import PlanError
from zvae_tiled.plan.grid import Span, spans
from zvae_tiled.plan.plan import AGAIN, Plan, Stage, check_fields, check_head
from zvae_tiled.plan.quality_plan import PROXY_PARTS, QualityPlan, stages_of


def check_quality_plan(plan: QualityPlan) -> None:
    """Refuse a plan that would not give every pixel, or not what it says it gives.

    Raises:
        PlanError: Its grid, its stages or its predictions do not belong together.
    """
    check_head(plan)
    plan.request.check(plan.config)
    window = (_widest(plan, plan.rows, 0), _widest(plan, plan.columns, 1))
    keeps = None if plan.middle is None else plan.middle.stage.keeps
    stages = stages_of(decoder_chain(plan.config), plan.request, keeps)
    sizes = {"middle": (plan.height, plan.width), "statistics": _measured(plan), "pixels": window}
    for name, size in sizes.items():
        found: Plan | None = getattr(plan, name)
        if found is not None and name in stages:
            _check_stage(plan, name, found, stages[name], size)
        elif found is not None or name in stages:
            raise PlanError(f"the stage {name!r} is missing, or one too many", AGAIN)
    if plan.middle is not None:
        last = plan.middle.sweeps[-1]
        if keeps is None or (last.store, last.medium) != (plan.middle.stage.stop, keeps):
            raise PlanError("the middle block's map is not kept", AGAIN)


def _check_stage(plan: QualityPlan, name: str, found: Plan, stage: Stage, size: tuple[int, int]) -> None:
    found.check()
    wanted = replace(found, config=plan.config, height=size[0], width=size[1], batch=1, stage=stage)
    if found != replace(wanted, dtype=plan.dtype, device=plan.device, budget=plan.budget):
        raise PlanError(f"the stage {name!r} is not one of this plan", AGAIN)
    if found.predicted_peak > plan.predicted_peak or found.spilled > plan.spilled:
        raise PlanError(f"the stage {name!r} takes more than the plan predicts", AGAIN)


def _widest(plan: QualityPlan, tiles: tuple[Span, ...], axis: int) -> int:
    """Refuse tiles that are not those of a grid; return the most that one reads."""
    for span in tiles:
        check_fields(span)
    if not tiles:
        raise PlanError("there are no tiles", AGAIN)
    chain, asked, scale, size = decoder_chain(plan.config), plan.request, plan.config.scale, (plan.height, plan.width)
    reach = 0 if asked.moments == "tile" else chain.reach(chain.middle)
    both = tiles[0].stop - tiles[1].start if len(tiles) > 1 else 0
    longest = max(span.stop - span.start for span in tiles)
    if asked.quality == "stream" and len(tiles) > 1:
        raise PlanError("a stream has no tiles", AGAIN)
    if asked.tile is not None and longest * scale > asked.tile[axis]:
        raise PlanError(f"a tile of {longest * scale} pixels is larger than what was asked for", AGAIN)
    if asked.overlap is not None and len(tiles) > 1 and both * scale != asked.overlap[axis]:
        raise PlanError(f"tiles share {both * scale} pixels, which is not what was asked for", AGAIN)
    # A grid's sizes are evened out, so its longest tile makes the same grid again.
    if not 0 <= both < longest or tiles != spans(size[axis], longest, both, min(reach, both)):
        raise PlanError(f"the tiles are no grid over {size[axis]} latents", AGAIN)
    return max(span.high - span.low for span in tiles)


def _measured(plan: QualityPlan) -> tuple[int, int]:
    """Refuse a proxy that cannot be made; return the size of the map that statistics are gathered from."""
    down, across = plan.factors
    if not all(type(factor) is int for factor in plan.factors):
        raise PlanError(f"a proxy of one in {plan.factors} cannot be made", AGAIN)
    if not (1 <= down <= plan.height and 1 <= across <= plan.width):
        raise PlanError(f"a proxy of one in {plan.factors} does not fit the map", AGAIN)
    if plan.factors == (1, 1):
        return plan.height, plan.width
    if plan.request.moments != "proxy":
        raise PlanError(f"{plan.request.moments} moments need no proxy", AGAIN)
    return PROXY_PARTS * (plan.height // down), plan.width // across
