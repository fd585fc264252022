"""`zvae plan --workers`: what one picture in stripes takes on several machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import click

from zvae_tiled.cli.options import group
from zvae_tiled.devices.named import named_device, unprobed_device
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import VAEConfig
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import planned_case, rows_and_columns
from zvae_tiled.planner.forecast import GBIT, Forecast, forecast
from zvae_tiled.planner.layout import resident_bytes
from zvae_tiled.planner.striped_plan import MOST, striped_plan
from zvae_tiled.wording import duration

NETWORK = 10.0
"""Gbit/s of the network by default."""


@dataclass(frozen=True)
class Crowd:
    """The options of a plan for several machines, as they were typed.

    Attributes:
        workers: ``--workers``.
        network: ``--network``.
    """

    workers: int | None
    network: float | None

    def check(self, others: Mapping[str, bool]) -> None:
        """Refuse options that have no effect on stripes, and a network that is no number, which `FloatRange` takes.

        Args:
            others: Other options, and whether each was typed.

        Raises:
            click.UsageError: One was typed beside ``--workers``; or ``--network`` without it, or nan.
        """
        if self.network is not None and math.isnan(self.network):
            raise click.UsageError("--network must be a number of Gbit/s, it is nan.")
        if self.workers is None:
            if self.network is not None:
                raise click.UsageError("--network is between workers: add --workers.")
            return
        for name, typed in others.items():
            if typed:
                raise click.UsageError(f"--workers plans one exact picture in stripes: remove {name}.")


crowd_options = group(
    "crowd",
    Crowd,
    workers=click.option(
        "--workers",
        type=click.IntRange(1, MOST),
        metavar="N",
        help="Plan one exact picture in stripes on N machines like this one, or like --device. The budget is that of "
        "each. Time and bytes moved are computed, not measured.",
    ),
    network=click.option(
        "--network",
        type=click.FloatRange(0.001, 100_000),
        metavar="GBIT",
        help=f"The network between these machines, in Gbit/s. Default: {NETWORK:g}.",
    ),
)


def crowd_plan(
    config: VAEConfig, sides: tuple[int, int], budget: Budget, dtype: str, device: str | None, crowd: Crowd
) -> str:
    """Return what one picture in stripes takes, as text.

    Raises:
        BudgetError: It does not fit. The error says how many workers would do.
    """
    target = unprobed_device(dtype) if device is None else named_device(device, dtype)
    case = planned_case(config, *rows_and_columns(*sides, config), target.name, dtype, 1, "stream")
    weights = resident_bytes(case, None, 0).weights
    network = GBIT * (NETWORK if crowd.network is None else crowd.network)

    def made(workers: int) -> Forecast:
        plan = striped_plan(case, target, workers, workers, budget.size, weights)
        return forecast(plan, workers, network)

    assert crowd.workers is not None
    found = made(crowd.workers)
    twice = min(2 * crowd.workers, case.height, MOST)
    more = ""
    with suppress(BudgetError):  # stripes of few rows read more of each other than they have less of their own
        if twice > crowd.workers:
            more = f"; {twice} workers would take {duration(made(twice).seconds)}"
    return f"{found}\nlimit      {found.limit}{more}"
