"""What would make a decode or an encode cheaper: a larger budget, or a quality that computes less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.files.temporary import free_space
from zvae_tiled.planner.budget import MOST_BYTES, SAFE_SHARE, Budget, available_memory
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact, Quality, Stream, Tiles
from zvae_tiled.planner.sampled import KEYS, LEAST_KEYS, Sampled
from zvae_tiled.wording import duration, rounded_up

if TYPE_CHECKING:
    from zvae_tiled.planner.plan import Plan

SAVES = 0.9
"""A larger budget is worth naming if at most this share of the time is left."""

SAVES_MUCH = 0.5
"""A quality that is not exact is worth naming if at most this share of the time is left."""

MOST = 0.5
"""Sampled keys are named if the attention takes more than this share of the time."""

TILE = 1024
"""Side in pixels of the tiles to try. Larger ones would spend more time on attention."""


def cheaper(plan: Plan, spill_folder: Path | None = None) -> list[str]:
    """Return what would make the plan cheaper, a line of text each: a budget, a quality, or that nothing would."""
    if plan.device is None:
        return []
    seconds, free = plan.predicted_seconds, free_space(spill_folder) if plan.spilled else 0
    full = plan.spilled > free
    roomier = (
        each for each in _roomier(plan) if each.predicted_seconds <= SAVES * seconds or full > (each.spilled > free)
    )
    others = (each for each in _others(plan) if each.predicted_seconds <= SAVES_MUCH * seconds)
    found = [*map(_budget, islice(roomier, 1)), *map(_lossy, islice(others, 1))]
    return found or ["nothing: a larger budget would save little time, or none"]


def fewer_keys(plan: Plan) -> list[str]:
    """Return a line that names sampled keys, with both times, if most of an exact decode's time is its attention."""
    seconds, pixels = plan.predicted_seconds, plan.case.height * plan.case.width
    if plan.device is None or plan.case.task != "decode" or not isinstance(plan.quality, Exact):
        return []
    if plan.time_of(lambda sweep: sweep.attending) <= MOST * seconds or pixels < 4 * LEAST_KEYS:
        return []
    keys = min(KEYS, 1 << (pixels // 4).bit_length() - 1)
    sampled = _made(plan, Sampled(keys), plan.budget)
    if sampled is None or sampled.predicted_seconds > SAVES * seconds:
        return []
    return [f"quality sampled, keys {keys}: {duration(sampled.predicted_seconds)} in place of {duration(seconds)}"]


def without_work(plan: Plan) -> Plan | None:
    """Return the plan that may keep maps in memory; None if there is none, or no device to cost it."""
    if plan.device is None:
        return None
    return _made(replace(plan, storage=replace(plan.storage, work=False)), plan.quality, plan.budget)


def _budget(plan: Plan) -> str:
    disk = "" if plan.spilled else ", and nothing is spilled"
    return f"a budget of {rounded_up(plan.predicted_peak)}: {duration(plan.predicted_seconds)}{disk}"


def _lossy(plan: Plan) -> str:
    moments = f", tile {TILE}, moments tile" if plan.quality.moments == "tile" else ""
    psnr = "not exact" if plan.expected_psnr is None else f"a PSNR of {plan.expected_psnr:.0f} dB"
    return f"quality {plan.quality.name}{moments}: {duration(plan.predicted_seconds)}, {psnr}"


def _roomier(plan: Plan) -> Iterator[Plan]:
    """Yield the plans of the same quality in all memory that is safe to use here now, and without a budget."""
    ample = _made(plan, plan.quality, MOST_BYTES)
    here = int(SAFE_SHARE * available_memory().size)
    if ample is not None and plan.budget < here < ample.predicted_peak:
        yield from filter(None, [_made(plan, plan.quality, here)])
    yield from filter(None, [ample])


def _others(plan: Plan) -> Iterator[Plan]:
    if plan.case.task == "decode" and isinstance(plan.quality, Exact):
        made = (_made(plan, quality, plan.budget) for quality in (Stream(), Tiles(TILE, moments="tile")))
        yield from (other for other in made if other is not None and not other.exact)


def _made(plan: Plan, quality: Quality, budget: int) -> Plan | None:
    assert plan.device is not None
    try:
        return make_plan(plan.case, quality, Budget(budget, ""), plan.device, plan.weights, plan.gathered, plan.storage)
    except (BudgetError, PlanError):
        return None
