"""The search finds a plan if one fits, names the smallest budget that works, and is never slower with more memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from random import Random

import pytest

from tests.support.plans import TASKS, exact_plan, random_config
from tests.support.samples import Seeds
from zvae_tiled import Plan, VAEConfig
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu.memory import CPU as ANY_CPU
from zvae_tiled.devices.mlx_gpu.memory import CUDA, METAL
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import Task, config_of
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.checks import MAX_RESNETS
from zvae_tiled.planner.aims import Fastest, Leanest
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import ITEMSIZES, Case, Output
from zvae_tiled.planner.cost import Costs, Size
from zvae_tiled.planner.leg import Leg
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact, Tiles
from zvae_tiled.planner.replay import costed
from zvae_tiled.planner.stage import Sweep

ALL = 1 << 60
CPU = replace(ANY_CPU, disk=1e9)
"""With a disk so slow that some maps are computed twice."""
ONE_PIXEL = 3591702708
"""The seed of a tiny picture: its bands of one row take more memory than the whole map at once."""


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

    def plan(self, budget: int, device: Device = CPU) -> Plan:
        size = self.height, self.width
        case = Case(self.config, *size, device.name, self.dtype, self.batch, self.output, self.task)
        return exact_plan(case, budget, device)

    def needed(self) -> int:
        with pytest.raises(BudgetError) as error:
            self.plan(1)
        return error.value.needed

    def budgets(self, count: int = 8) -> Iterator[int]:
        """Yield budgets from the smallest that works to twice the largest that is of use."""
        least, most = self.needed(), self.plan(ALL).predicted_peak
        yield from (least + int((most - least) * (i / (count - 2)) ** 2) for i in range(count - 2))
        yield from (most, 2 * most)


Z_IMAGE = {
    f"{side}x{side} {dtype}": Problem(config_of("z-image"), side // 8, side // 8, dtype)
    for side, dtype in ((256, "float32"), (1024, "bfloat16"), (4096, "bfloat16"), (16384, "float16"))
}


@pytest.fixture(params=Z_IMAGE)
def real(request: pytest.FixtureRequest) -> Problem:
    return Z_IMAGE[request.param]


def check_growing_budgets(problem: Problem) -> set[str]:
    """Plan for growing budgets. Return the choices of all sweeps that end in moments: keep, spill, drop."""
    plans = [problem.plan(budget) for budget in problem.budgets()]
    for plan in plans:
        assert costed(plan, CPU) == plan  # its sweeps follow one another, and their costs are those of the plan
        assert plan.predicted_peak <= plan.budget
        assert plan.pixels.base < min(sweep.peak for sweep in plan.sweeps)
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


@pytest.mark.sample(2)
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
    assert plan.predicted_flops == plan.pixels.needed_flops * plan.case.batch
    assert plan.spilled == 0


def test_with_room_for_everything_random_problems_compute_nothing_twice() -> None:
    for seed in range(20):
        assert Problem.random(Random(seed)).plan(ALL).extra_flops == 0


LARGEST = {
    f"{levels} levels": AutoencoderKLConfig(
        latent_channels=16,
        block_out_channels=(64,) * levels,
        layers_per_block=MAX_RESNETS // levels - 1,
    )
    for levels in (1, 4, 8)
}
"""The longest Chains that a config may describe."""


def sweeps_costed(make: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """Plan, and return the number of sweeps whose peaks were computed. Each takes some 10 µs."""
    count = 0
    original = Leg.peak

    def counting(leg: Leg, rows: int, anew: bool = False) -> int:
        nonlocal count
        count += 1
        return original(leg, rows, anew)

    with monkeypatch.context() as patch:
        patch.setattr(Leg, "peak", counting)
        make()
    return count


@pytest.mark.sample(2)
def test_the_search_is_short(real: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    for budget in real.budgets():
        assert 50 < sweeps_costed(partial(real.plan, budget), monkeypatch) < 3_000


@pytest.mark.parametrize("aim", [Fastest, Leanest])
def test_a_choice_that_is_passed_over_could_not_have_won(
    aim: type[Fastest | Leanest], seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose, compared = aim.choose, 0

    def bounded(self: Fastest | Leanest, leg: Leg, ladder: list[int], grain: int) -> Sweep | None:
        nonlocal compared
        sweep = choose(self, leg, ladder, grain)  # type: ignore[arg-type]
        if sweep is not None:
            compared += 1
            assert self.least(0.0, leg, ladder) <= self.score(0.0, sweep)
        return sweep

    monkeypatch.setattr(aim, "choose", bounded)
    for seed in seeds(2):
        problem = Problem.random(Random(seed))
        for budget in problem.budgets(3):
            problem.plan(budget)
    assert compared > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGEST)
def test_the_search_is_short_for_the_longest_chains(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in (16, 512):
        problem = Problem(LARGEST[name], side, side, "bfloat16", output="rows")
        for budget in problem.budgets(5):
            assert sweeps_costed(partial(problem.plan, budget), monkeypatch) < 40_000


def test_the_search_is_short_where_no_tile_fits(real: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages before the pixels are the same for tiles of any size: they are searched once."""
    case = Case(real.config, real.height, real.width, CPU.name, real.dtype)

    def refused() -> None:
        with pytest.raises(BudgetError):
            make_plan(case, Tiles(), Budget(1 << 20, "a test"), CPU)

    assert 50 < sweeps_costed(refused, monkeypatch) < 12_000  # each with weights held, and with weights prepared anew


@pytest.mark.parametrize("device", [METAL, CUDA])
def test_no_buffer_is_larger_than_the_device_allows(device: Device) -> None:
    chosen = replace(device, max_buffer=1 << 24)
    for seed in range(6):
        problem = Problem.random(Random(seed))
        plan = problem.plan(ALL, chosen)
        costs = Costs(plan.case.chain, Size(plan.case.height, plan.case.width, plan.case.itemsize), chosen)
        for sweep in plan.sweeps:
            row = max(costs.cut_bytes(cut) for cut in range(sweep.start, sweep.stop + 1)) // costs.map_rows(sweep.start)
            assert sweep.rows == 1 or 2 * sweep.rows * row <= chosen.max_buffer


@pytest.mark.parametrize("pixels", [2048, 6144, 16384])
def test_bands_of_an_attention_end_soon_where_that_costs_little(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(config_of("z-image"), pixels // 8, pixels // 8, ANY_CPU.name, output="rows")
    prompt, tallest = (made_with(case, heights, monkeypatch) for heights in (Leg.prompt, lambda _, ladder: ladder))
    assert prompt.predicted_seconds <= 1.02 * tallest.predicted_seconds
    for short, tall in zip(prompt.sweeps, tallest.sweeps, strict=True):
        lasts, lasted = (sweep.seconds * sweep.rows * 8 / pixels for sweep in (short, tall))
        assert short.rows == tall.rows if lasted <= 30 or not tall.attending else lasts <= max(30, lasted / 4)


def made_with(case: Case, heights: Callable[[Leg, list[int]], list[int]], monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(Leg, "prompt", heights)
    return make_plan(case, Exact(), Budget(8 * 10**9, "a test"), ANY_CPU)
