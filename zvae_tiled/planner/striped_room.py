"""The sweeps of a worker that computes stripes, and the memory that it needs for them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from zvae_tiled.devices.base import Device
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.region import Region, Rows
from zvae_tiled.planner.stage import Stage
from zvae_tiled.planner.striped import row_bytes, stripe_stage
from zvae_tiled.planner.stripes import region_of, split


def stage_for(
    case: Case, device: Device, workers: int, count: int, budget: int, weights: int, looked: int
) -> tuple[Stage, int]:
    """Return the stage of the whole picture, and the bytes that a worker needs for its stripes of it.

    If they are more than the budget, they are the least that were found.
    """
    stage, peak = _settled(case, device, workers, count, budget, weights, looked)
    if peak <= budget:
        return stage, peak
    return _settled(case, device, workers, count, 0, weights, looked)  # the leanest: it holds less beside


def _settled(
    case: Case, device: Device, workers: int, count: int, budget: int, weights: int, looked: int
) -> tuple[Stage, int]:
    """Return the stage, and the bytes that a worker needs.

    Which rows a stripe reads depends on its sweeps, and these on how many rows there are. So more rows are assumed
    until they suffice.
    """
    stripes = split(case.height, count)
    owned = -(-len(stripes) // workers)
    some = [*stripes[:: -(-len(stripes) // looked)], stripes[-1]]
    rows, beside = max(stripe.stop - stripe.first for stripe in stripes), 0
    while True:
        part = stripe_stage(case, rows, budget, device, weights, beside)
        stage = part.resized(case.height, case.width)
        regions = [
            [region_of(device.workspace, case.chain, stage, index, stripe) for stripe in some]
            for index in range(len(stage.sweeps))
        ]
        most, held = _rows_of(case, stage, regions), _beside(case, stage, stripes, regions, owned)
        if most <= rows and held <= beside:
            return stage, part.peak
        rows, beside = max(rows, most), max(beside, held)


def _rows_of(case: Case, stage: Stage, regions: Sequence[Sequence[Region]]) -> int:
    """Return the most rows that a sweep has of any map, as rows of the latents."""
    factors, most = case.chain.factors, 1
    for sweep, of_stripes in zip(stage.sweeps, regions, strict=True):
        for region in of_stripes:
            for cut, given in enumerate(region.given, sweep.start):
                most = max(most, -(-(given.stop - given.first) // factors[cut]))
    return min(case.height, most)


def _beside(case: Case, stage: Stage, stripes: Sequence[Rows], regions: Sequence[Sequence[Region]], owned: int) -> int:
    """Return the bytes that a worker holds beside one sweep of one stripe.

    They are the rows that stripes exchange, which both sides keep; what its other stripes have stored; the rows of the
    picture, which are there once more while they are sent; and the sums of linear attentions.
    """
    factors, exchanged, stored = case.chain.factors, 0, 0
    tall = max(stripe.stop - stripe.first for stripe in stripes)
    for sweep, of_stripes in zip(stage.sweeps, regions, strict=True):
        line, own = row_bytes(case, sweep.start), tall * factors[sweep.start]
        read = max(region.reads.stop - region.reads.first for region in of_stripes)
        exchanged += 2 * max(0, read - own) * line if sweep.start else read * line
        after = 0 if sweep.store is None else tall * factors[sweep.store] * row_bytes(case, sweep.store)
        stored = max(stored, own * line + after)
    end = len(case.chain.steps)
    sums = _sums(case, stage, owned * tall)
    return owned * (exchanged + 2 * tall * factors[end] * row_bytes(case, end)) + (owned - 1) * stored + sums


def _sums(case: Case, stage: Stage, rows: int) -> int:
    """Return the bytes of sums for linear attentions, if a worker has so many rows of the latents.

    Each row of its stripes has sums of its own, in float32, until all are added up. Two totals are there meanwhile, in
    float64, and one of each attention as this process sends it.
    """
    steps, factors = case.chain.steps, case.chain.factors
    ends = [sweep.stop for sweep in stage.sweeps if sweep.ends == "moments" and steps[sweep.stop].kind == "linear"]
    sizes = {cut: prod(steps[cut].state) for cut in ends}
    each = max((4 * rows * factors[cut] * size + 16 * size for cut, size in sizes.items()), default=0)
    return each + 8 * sum(sizes.values())
