"""`Forecast`: the time of a striped picture on many workers, by a model. benchmarks/stripes.py holds it to runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zvae_tiled.planner.striped_plan import StripedPlan
from zvae_tiled.planner.traffic import Traffic, traffic
from zvae_tiled.wording import counted, duration, size

GBIT = 1.25e8
"""Bytes a second of a network of 1 Gbit/s."""

TASK = 2.5e-3
"""Seconds in which Dask's scheduler places a task and hears of its end. It does so one after another."""

BARRIER = 0.03
"""Seconds in which all workers wait for each other after a sweep, if they end it at the same time."""

MERGED = 4e-6
"""Seconds in which the moments of a row are merged, by one process."""

ADDED = 1e-9
"""Seconds in which a number is added to the sums of a linear attention. Workers do so one after another."""


@dataclass(frozen=True)
class Forecast:
    """What a picture on many workers takes.

    Attributes:
        planned: The plan of the workers.
        workers: How many there are.
        network: Bytes a second to and from each machine.
        traffic: What they move.
        parts: Seconds of what is done one after another, by name.
    """

    planned: StripedPlan
    workers: int
    network: float
    traffic: Traffic
    parts: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """The time of the whole picture."""
        return sum(self.parts.values())

    @property
    def limit(self) -> str:
        """What takes the most time."""
        return max(self.parts, key=self.parts.__getitem__)

    def __str__(self) -> str:
        """Return a few lines, each with a name in front."""
        plan, moved, (height, width) = self.planned.plan, self.traffic, self.planned.plan.case.pixels
        shared = f"{counted(len(self.planned.stripes), 'stripe')}, {counted(self.workers, 'worker')}"
        shares = sorted(((seconds / self.seconds, name) for name, seconds in self.parts.items()), reverse=True)
        parts = ", ".join(f"{name} {100 * share:.0f} %" for share, name in shares if share >= 0.005)
        kinds = {"keys": moved.keys, "edges": moved.edges, "sums": moved.sums, "rows": moved.rows}
        kinds |= {"moments": moved.moments, "latents": moved.given}
        each = ", ".join(f"{name} {size(count)}" for name, count in kinds.items() if count)
        return "\n".join(
            [
                f"decodes    1 x {width}x{height}, {plan.case.dtype} on {plan.case.device}: {shared}",
                f"memory     {size(plan.predicted_peak)} of the budget of {size(plan.budget)} on each worker",
                f"time       {duration(self.seconds)} if idle, by a model: {parts}",
                f"moves      {size(moved.between + moved.outside)}: {each}",
                f"network    {self.network / GBIT:g} Gbit/s to and from each worker; {moved.tasks:,} tasks of Dask",
            ]
        )


def forecast(planned: StripedPlan, workers: int, network: float) -> Forecast:
    """Return what a picture takes on so many workers, each on a machine of its own.

    Args:
        planned: Its plan, for these workers.
        workers: How many there are.
        network: Bytes a second to and from each machine.
    """
    moved, busy = traffic(planned, workers), min(workers, len(planned.stripes))
    parts = {
        "computing": planned.plan.predicted_seconds,
        "keys": moved.keys / busy / network,
        "edges": moved.edges / busy / network,
        "the client's network": moved.outside / network,
        "tasks": moved.tasks * TASK + moved.barriers * BARRIER,
        "merging": moved.merged * MERGED + moved.added * ADDED + moved.sums / network,
    }
    return Forecast(planned, workers, network, moved, parts)
