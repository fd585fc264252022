"""The search: what fits is found, the smallest budget that works is named, and more memory is never slower."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from tests.plans import TASKS, random_config
from tests.samples import Seeds
from zvae_tiled import Plan, VAEConfig
from zvae_tiled.budget import Budget
from zvae_tiled.chain import Task
from zvae_tiled.errors import BudgetError
from zvae_tiled.plan.device import CPU
from zvae_tiled.plan.make import make_plan
from zvae_tiled.plan.plan import ITEMSIZES, Output
from zvae_tiled.plan.sweeps import SweepCosts

ALL = 1 << 60
ONE_PIXEL = 3591702708
"""The seed of a picture so small that bands of one row take more than all at once."""


class Problem:
    """A decode to plan, for any budget."""

    def __init__(
        self,
        config: VAEConfig,
        height: int,
        width: int,
        dtype: str,
        batch: int = 1,
        output: Output = "array",
        task: Task = "decode",
    ) -> None:
        self.config, self.dtype, self.batch = config, dtype, batch
        self.height, self.width = height, width
        self.output, self.task = output, task

    @classmethod
    def random(cls, rng: Random) -> Problem:
        height, width = (rng.choice([1, 3, rng.randint(1, 60), rng.randint(60, 3000)]) for _ in range(2))
        output: Output = rng.choice(["array", "rows"])
        config, dtype, batch = random_config(rng), rng.choice(sorted(ITEMSIZES)), rng.choice([1, 1, 3])
        return cls(config, height, width, dtype, batch, output, rng.choice(TASKS))

    def plan(self, budget: int) -> Plan:
        limit = Budget(budget, True, "a test")
        shape = (self.config, self.height, self.width, limit, CPU, self.dtype, self.batch)
        return make_plan(*shape, output=self.output, task=self.task)

    def needed(self) -> int:
        with pytest.raises(BudgetError) as error:
            self.plan(1)
        return error.value.needed

    def budgets(self, count: int = 8) -> Iterator[int]:
        """From the smallest that works to more than anything needs."""
        least, most = self.needed(), self.plan(ALL).predicted_peak
        yield from (least + int((most - least) * (i / (count - 2)) ** 2) for i in range(count - 2))
        yield from (most, 2 * most)


Z_IMAGE = {
    f"{side}x{side} {dtype}": Problem(VAEConfig.preset("z-image"), side // 8, side // 8, dtype)
    for side, dtype in ((256, "float32"), (1024, "bfloat16"), (4096, "bfloat16"), (16384, "float16"))
}


@pytest.fixture(params=list(Z_IMAGE))
def real(request: pytest.FixtureRequest) -> Problem:
    return Z_IMAGE[request.param]


def check_growing_budgets(problem: Problem) -> set[str]:
    """Plan for growing budgets; return all that was chosen where a map could be kept, spilled or dropped."""
    plans = [problem.plan(budget) for budget in problem.budgets()]
    for plan in plans:
        plan.check()
        assert plan.predicted_peak <= plan.budget
        assert plan.base < min(sweep.peak for sweep in plan.sweeps)
        assert plan.predicted_peak == max(sweep.peak for sweep in plan.sweeps)
        assert plan.extra_flops >= 0
    for tight, roomy in pairwise(plans):
        assert roomy.predicted_seconds <= tight.predicted_seconds
    assert plans[-1].predicted_peak == plans[-2].predicted_peak, "more than it needs changes nothing"
    return {sweep.choice for plan in plans for sweep in plan.sweeps if sweep.ends == "moments"}


def check_the_smallest(problem: Problem) -> None:
    needed = problem.needed()
    assert problem.plan(needed).predicted_peak <= needed
    with pytest.raises(BudgetError) as error:
        problem.plan(needed - 1)
    assert error.value.needed == needed


def test_more_memory_is_never_slower_at_real_sizes(real: Problem) -> None:
    assert check_growing_budgets(real) >= {"keep", "spill"}


def test_the_smallest_budget_works_at_real_sizes(real: Problem) -> None:
    check_the_smallest(real)


def test_more_memory_is_never_slower() -> None:
    chosen = set[str]()
    for seed in range(6):
        chosen |= check_growing_budgets(Problem.random(Random(seed)))
    assert chosen == {"keep", "spill", "drop"}


def test_the_smallest_budget_works() -> None:
    for seed in (*range(8), ONE_PIXEL):
        check_the_smallest(Problem.random(Random(seed)))


@pytest.mark.slow
def test_many_random_problems(seeds: Seeds) -> None:
    for seed in seeds(600):
        problem = Problem.random(Random(seed))
        check_growing_budgets(problem)
        check_the_smallest(problem)


def test_with_room_for_everything_nothing_is_computed_twice(real: Problem) -> None:
    plan = real.plan(ALL)
    assert plan.extra_flops == 0
    assert plan.predicted_flops == plan.needed_flops * plan.batch
    assert plan.spilled == 0


def test_with_room_for_everything_random_problems_compute_nothing_twice() -> None:
    for seed in range(20):
        assert Problem.random(Random(seed)).plan(ALL).extra_flops == 0


def test_the_search_is_short(real: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    original = SweepCosts.sweep

    def counting(*args: object, **more: object) -> object:
        nonlocal asked
        asked += 1
        return original(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(SweepCosts, "sweep", counting)
    for budget in real.budgets():
        asked = 0
        real.plan(budget)
        # 31 norms: at each some 20 states, 3 to 5 ways on, 5 band heights. A sweep costs about 30 µs.
        assert 100 < asked < 10_000
