"""Plans that were made before: the same case is not planned twice. A small decode took half of its time to plan."""

from __future__ import annotations

from dataclasses import replace

from zvae_tiled.devices.base import Device
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import check_case, make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality
from zvae_tiled.planner.storage import ANYWHERE, Storage

MOST = 32
"""The most plans that are kept: some hundred kB."""

_Key = tuple[Case, Quality, Device, int | None, int, Storage]

_kept: tuple[tuple[_Key, Plan], ...] = ()
"""Newest first. It is replaced as a whole and never changed, so threads need no lock, which a fork could lose."""


def remembered_plan(
    case: Case,
    quality: Quality,
    budget: Budget,
    device: Device,
    weights: int | None = None,
    gathered: int = 0,
    storage: Storage = ANYWHERE,
) -> Plan:
    """Return the plan of `make_plan`, without a search if one that was made before is it.

    The fastest plan within a budget is the fastest within every smaller budget that it still fits, too. So the plan is
    found again though the default budget, a share of the free memory, is never the same twice. The device is part of
    the key with its kernels, threads and calibrated figures.

    Raises:
        BudgetError: As in `make_plan`.
        PlanError: As in `make_plan`.
    """
    check_case(case, quality, device)  # 8.0 rows are refused, though they equal 8
    key = (case, quality, device, weights, gathered, storage)
    for other, plan in _kept:
        if plan.predicted_peak <= budget.size <= plan.budget and other == key:
            return replace(plan, budget=budget.size)
    made = make_plan(case, quality, budget, device, weights, gathered, storage)
    _keep(key, made)
    return made


def _keep(key: _Key, made: Plan) -> None:
    """Keep a plan, in place of the same plan for a smaller budget."""
    global _kept
    others = (pair for pair in _kept if pair[0] != key or replace(pair[1], budget=made.budget) != made)
    _kept = ((key, made), *others)[:MOST]


def forget_plans() -> None:
    """Forget all plans, as tests do that change what a plan is made from."""
    global _kept
    _kept = ()
