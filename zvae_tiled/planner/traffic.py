"""`Traffic`: the bytes that a striped picture moves between its workers, and the tasks that it takes. Shapes only."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from zvae_tiled.planner.stage import Sweep
from zvae_tiled.planner.striped import row_bytes
from zvae_tiled.planner.striped_plan import StripedPlan
from zvae_tiled.planner.stripes import edges, home

MOMENT = 16
"""Bytes of the moments of a row and a group: mean and M2, in float64."""

SUM = 8
"""Bytes of a number that is summed over the whole map, in float64."""


@dataclass(frozen=True)
class Traffic:
    """What a striped picture moves, in bytes of all workers.

    Attributes:
        edges: Rows that workers send to those of other stripes.
        keys: Keys of the attention that workers send to each other.
        sums: Sums of linear attentions that workers send to each other.
        given: Latents that are sent to workers; in an encode, the picture.
        moments: Moments of rows, which workers send to the process that merges them; and sums of all rows, which are
            sent there and back.
        rows: Rows of the finished picture; in an encode, of the latents.
        merged: How many rows have moments.
        added: How many numbers are added up to the sums.
        tasks: Tasks of Dask.
        barriers: How often all workers wait for each other.
    """

    edges: int
    keys: int
    sums: int
    given: int
    moments: int
    rows: int
    merged: int
    added: int
    tasks: int
    barriers: int

    @property
    def between(self) -> int:
        """Bytes that workers send to each other."""
        return self.edges + self.keys + self.sums

    @property
    def outside(self) -> int:
        """Bytes to and from the process that reads and writes the files."""
        return self.given + self.moments + self.rows


def traffic(planned: StripedPlan, workers: int) -> Traffic:
    """Return what a striped picture moves between so many workers.

    Args:
        planned: Its plan.
        workers: How many there are.
    """
    plan, stripes = planned.plan, planned.stripes
    case, chain, count = plan.case, plan.case.chain, len(planned.stripes)
    stored, moved, given, merged, moments, asked = False, 0, 0, 0, 0, 0
    passed, added, others = 0, 0, min(workers, count) - 1
    for sweep, reads in zip(plan.pixels.sweeps, planned.reads, strict=True):
        line = row_bytes(case, sweep.start)
        for stripe, read in enumerate(reads):
            if not stored:
                given += (read.stop - read.first) * line
                continue
            found = edges(stripes, chain.factors[sweep.start], read, stripe)
            asked += len(found)
            here = home(stripe, count, workers)
            moved += sum(line * (rows.stop - rows.first) for at, rows in found if home(at, count, workers) != here)
        if groups := _groups(planned, sweep):
            rows = case.height * chain.factors[sweep.stop]
            merged, moments = merged + rows, moments + rows * groups * MOMENT
        if state := _state(planned, sweep):
            total = SUM * state
            passed, moments = passed + 2 * others * total, moments + 2 * total
            added += case.height * chain.factors[sweep.stop] * state
            asked += 1 + (count if sweep.store is not None else 0)
        stored = stored or sweep.store is not None
    keys = 0
    if chain.attention is not None:
        keys = case.height * case.width * 2 * chain.steps[chain.attention].inputs * case.itemsize
    end, sweeps = len(chain.steps), len(plan.pixels.sweeps)
    return Traffic(
        edges=moved,
        keys=keys * others,
        sums=passed,
        given=given,
        moments=moments,
        rows=case.height * chain.factors[end] * row_bytes(case, end),
        merged=merged,
        added=added,
        tasks=2 * sweeps * count + asked,
        barriers=sweeps,
    )


def _groups(planned: StripedPlan, sweep: Sweep) -> int:
    """Return the groups of the norm whose moments a sweep gathers; 0 if it gathers none."""
    if sweep.ends != "moments":
        return 0
    norm = planned.plan.case.chain.steps[sweep.stop].norm
    return 0 if norm is None or norm.kind == "rms" else norm.groups


def _state(planned: StripedPlan, sweep: Sweep) -> int:
    """Return the numbers that a linear attention gathers where a sweep ends; 0 if there is none."""
    case = planned.plan.case
    step = case.chain.steps[sweep.stop] if sweep.ends == "moments" else None
    return 0 if step is None or step.kind != "linear" else prod(step.state)
