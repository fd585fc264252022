"""Plans that were made before: they are those that a search would find, and nothing is searched for them."""

from __future__ import annotations

import threading
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tests.support.models import narrow, random_latents, random_vae
from tests.support.running import CONFIG
from tests.support.speeds import speeds
from zvae_tiled import Tiles, plan
from zvae_tiled.devices.here import device_name, mlx_version
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.errors import BudgetError, PlanError
from zvae_tiled.planner import make, remembered
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.calibration import Calibration, store
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact, Quality, Stream
from zvae_tiled.planner.remembered import MOST, remembered_plan
from zvae_tiled.planner.search import fastest
from zvae_tiled.planner.storage import Storage

MODEL, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 6, 8)


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The budget of each search."""
    seen: list[int] = []
    search = fastest

    def counted(costs: Any, budget: int, *rest: Any) -> Any:
        seen.append(budget)
        return search(costs, budget, *rest)

    monkeypatch.setattr(make, "fastest", counted)
    return seen


def test_the_second_decode_of_a_case_searches_nothing(searches: list[int]) -> None:
    for door in (MODEL.decode, lambda latents, **options: list(MODEL.stream(latents, **options))):
        door(LATENTS, budget="1GB")
        first = len(searches)
        assert first > 0
        door(LATENTS, budget="1GB")
        assert len(searches) == first
        searches.clear()


def test_the_default_budget_is_found_again_though_free_memory_shrinks(searches: list[int]) -> None:
    case = Case(CONFIG, 6, 8, CPU.name)
    made = [remembered_plan(case, Exact(), Budget(size, "free"), CPU) for size in (10**9, 9 * 10**8, 5 * 10**8)]
    assert len(searches) == 1
    assert [each.budget for each in made] == [10**9, 9 * 10**8, 5 * 10**8]
    assert len({each.digest for each in made}) == 1


@pytest.mark.parametrize(
    "quality", [Exact(), *(pytest.param(other, marks=pytest.mark.slow) for other in (Stream(), Tiles(32, 8)))]
)
def test_what_is_remembered_is_what_a_search_finds(quality: Quality) -> None:
    case = Case(narrow("sd1"), 12, 12, CPU.name, output="rows")
    with pytest.raises(BudgetError) as refused:
        make_plan(case, quality, Budget(1, "a test"), CPU)
    least, rng = refused.value.needed, Random(0)
    hits = 0
    for _ in range(14):
        budget = Budget(int(least * rng.choice([0.99, 1, 1.01, 1.1, 1.3, 2, 4]) * rng.uniform(0.98, 1.02)), "a test")
        before = remembered._kept
        made = outcome(remembered_plan, case, quality, budget)
        assert made == outcome(make_plan, case, quality, budget)
        hits += isinstance(made, Plan) and remembered._kept is before
    assert hits > 2, "this would not see a plan that is remembered wrongly"


def outcome(planner: Any, case: Case, quality: Quality, budget: Budget) -> Plan | tuple[str, int | None]:
    try:
        made: Plan = planner(case, quality, budget, CPU)
    except BudgetError as error:
        return str(error), error.needed
    return made


def other_device(**figures: Any) -> dict[str, Any]:
    return {"device": replace(CPU, **figures)}


@pytest.mark.parametrize(
    "other",
    [
        {"case": Case(CONFIG, 6, 9, CPU.name)},
        {"case": Case(CONFIG, 6, 8, CPU.name, dtype="float32")},
        {"case": Case(CONFIG, 6, 8, CPU.name, batch=2)},
        {"case": Case(CONFIG, 6, 8, CPU.name, output="rows")},
        {"case": Case(replace(CONFIG, norm_num_groups=4), 6, 8, CPU.name)},
        {"quality": Stream()},
        {"weights": 123_456},
        {"gathered": 1},
        {"storage": Storage(work=True)},
        {"storage": Storage(0)},
        {"budget": Budget(1 << 31, "more than before")},
        other_device(speeds=speeds()),
        other_device(margin=1.5),
        other_device(band_rows=CPU.band_rows * 2),
    ],
)
def test_another_case_is_planned_anew(other: dict[str, Any], searches: list[int]) -> None:
    given: dict[str, Any] = {
        "case": Case(CONFIG, 6, 8, CPU.name),
        "quality": Exact(),
        "budget": Budget(1 << 30, "a test"),
        "device": CPU,
    }
    remembered_plan(**given)
    searches.clear()
    assert remembered_plan(**(given | other)) == make_plan(**(given | other))
    assert len(searches) >= 2, "one search for each of the two"


def test_a_new_calibration_and_other_threads_give_another_plan(
    searches: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("ZVAE_CACHE", str(tmp_path))
    before = MODEL.plan(64, 64, "1GB").predicted_seconds
    store(Calibration("cpu", device_name(), mlx_version(), 1.0, speeds(1e9, 1e9), speeds(1e9, 1e9), 1e9))
    slower = MODEL.plan(64, 64, "1GB").predicted_seconds
    assert slower > before
    count = len(searches)
    monkeypatch.setenv("ZVAE_KERNELS", "mlx")
    assert plan(CONFIG, 64, 64, "1GB", device="cpu").case.device == "cpu/mlx"
    assert len(searches) > count


def test_a_case_that_is_refused_is_refused_again() -> None:
    remembered_plan(Case(CONFIG, 6, 8, CPU.name), Exact(), Budget(1 << 30, "a test"), CPU)
    for height in (6.0, True):
        with pytest.raises(PlanError, match="height must be"):
            remembered_plan(Case(CONFIG, height, 8, CPU.name), Exact(), Budget(1 << 30, "a test"), CPU)  # type: ignore[arg-type]


def test_few_plans_are_kept_and_of_equal_ones_one() -> None:
    for width in range(1, MOST + 9):
        remembered_plan(Case(CONFIG, 1, width, CPU.name), Exact(), Budget(1 << 30, "a test"), CPU)
    assert len(remembered._kept) == MOST
    for size in range(1 << 30, (1 << 30) + 10):
        remembered_plan(Case(CONFIG, 1, 99, CPU.name), Exact(), Budget(size, "free"), CPU)
    assert sum(made.case.width == 99 for _, made in remembered._kept) == 1


def test_threads_plan_at_once() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = Random(seed)
        for _ in range(25):
            width = rng.randint(1, MOST + 9)
            made = remembered_plan(Case(CONFIG, 1, width, CPU.name), Exact(), Budget(1 << 30, "a test"), CPU)
            wrong.extend([width] if made.case.width != width else [])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(remembered._kept) <= MOST
