"""Every stored map is read again: the planner keeps no map without a reader, even if memory is left for it."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.plans import random_config
from zvae_tiled import Stream, Tiles, config_of
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.errors import BudgetError
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Quality


def planned(case: Case, quality: Quality, share: float) -> Plan:
    """A plan for a budget between the smallest that works (share 0) and one that keeps every map (share 1)."""

    def made(size: int) -> Plan:
        return make_plan(case, quality, Budget(size, "a test"), CPU)

    try:
        return made(1)
    except BudgetError as error:
        return made(int(error.needed * (made(1 << 60).predicted_peak / error.needed) ** share))


@pytest.mark.slow
def test_the_pass_that_gathers_moments_stores_nothing_where_it_ends() -> None:
    rng, seen = Random(0), 0
    for number in range(60):
        config = config_of("z-image") if number % 10 == 0 else random_config(rng)
        tile = 64 * config.scale
        qualities: list[Quality] = [Stream(), Tiles(tile), Tiles(tile, moments="proxy")]
        case = Case(config, rng.randint(1, 150), rng.randint(1, 150), CPU.name, output="rows")
        plan = planned(case, rng.choice(qualities), rng.random())
        _, statistics, _ = plan.stages
        assert statistics.keeps is None
        assert all(sweep.store is None for sweep in statistics.sweeps[-1:]), plan
        seen += len(statistics.sweeps) > 1
    assert seen > 20
