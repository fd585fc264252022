"""Where maps are stored: with a work folder all of them on disk, and never more than the disk limit."""

from __future__ import annotations

import re
from random import Random

import pytest

from tests.support.plans import random_config
from zvae_tiled import Stream, Tiles, config_of, plan, read_plan
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.errors import BudgetError, InputError, PlanError
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan
from zvae_tiled.planner.quality import Exact
from zvae_tiled.planner.replay import replayed
from zvae_tiled.planner.storage import Storage, disk_limit_of

CASE = Case(config_of("z-image"), 64, 48, CPU.name, output="rows")


def made(size: int, storage: Storage, case: Case = CASE) -> Plan:
    return make_plan(case, Exact(), Budget(size, "a test"), CPU, storage=storage)


def smallest(storage: Storage, case: Case = CASE) -> int:
    with pytest.raises(BudgetError) as error:
        made(1, storage, case)
    return error.value.needed


def test_a_plan_for_a_work_folder_keeps_nothing_in_memory() -> None:
    rng = Random(0)
    for _ in range(10):
        case = Case(random_config(rng), rng.randint(1, 80), rng.randint(1, 80), CPU.name, output="rows")
        found = made(1 << 40, Storage(work=True), case)
        assert {sweep.medium for sweep in found.sweeps} <= {"disk", None}
        assert found.predicted_seconds >= made(1 << 40, Storage(), case).predicted_seconds


def test_less_disk_is_paid_with_time_and_the_limit_is_kept() -> None:
    """At one budget, from the disk that the fastest plan takes down to none."""
    budget = smallest(Storage(0))
    free = made(budget, Storage())
    assert free.spilled > 0
    before = free
    for share in (0.9, 0.6, 0.3, 0.0):
        found = made(budget, Storage(int(share * free.spilled)))
        assert found.spilled <= share * free.spilled
        assert found.predicted_peak <= budget
        assert found.predicted_seconds >= before.predicted_seconds
        before = found
    assert before.extra_flops > free.extra_flops


def test_a_budget_that_the_disk_limit_makes_too_small_names_one_that_works() -> None:
    needed = smallest(Storage(0))
    assert needed > smallest(Storage())
    assert made(needed, Storage(0)).spilled == 0
    with pytest.raises(BudgetError, match="or raise disk_limit="):
        made(needed - 1, Storage(0))


def test_the_budget_to_stream_with_keeps_the_disk_limit() -> None:
    with pytest.raises(BudgetError) as error:
        plan("z-image", 2048, 2048, "100MB", device="cpu/mlx", disk_limit=0)
    streamed = re.search(r"stream the rows .* with (\d+MB)", error.value.advice)
    assert streamed is not None
    assert plan("z-image", 2048, 2048, streamed[1], device="cpu/mlx", disk_limit=0, task="stream").spilled == 0


def test_a_disk_limit_that_no_work_folder_keeps_is_refused_with_one_that_works() -> None:
    with pytest.raises(BudgetError, match="on disk, the limit is 0") as error:
        made(1 << 40, Storage(0, work=True))
    named = error.value.advice.split('"')[1]
    made(1 << 40, Storage(disk_limit_of(named), work=True))


@pytest.mark.parametrize("quality", [Stream(), Tiles(256)])
def test_qualities_that_cannot_go_on_are_refused(quality: Stream | Tiles) -> None:
    with pytest.raises(PlanError, match="cannot go on after a crash"):
        plan("z-image", 512, 512, "8GB", device="cpu/mlx", quality=quality, work=True)


def test_a_replayed_plan_obeys_the_storage() -> None:
    kept = made(1 << 40, Storage())
    assert any(sweep.medium == "ram" for sweep in kept.sweeps)
    with pytest.raises(PlanError, match="keeps maps in memory"):
        replayed(kept, CASE, CPU, kept.weights, 0, Storage(work=True))
    stored = made(1 << 40, Storage(work=True))
    assert replayed(stored, CASE, CPU, stored.weights, 0, stored.storage) == stored
    freed = replayed(stored, CASE, CPU, stored.weights, 0, Storage(stored.spilled))
    assert freed.spilled < stored.spilled, "without a work folder, rows take the place of those that were read"
    with pytest.raises(PlanError, match="bytes on disk, disk_limit= is"):
        replayed(stored, CASE, CPU, stored.weights, 0, Storage(freed.spilled - 1))


def test_the_storage_is_in_the_plans_file_and_in_its_text() -> None:
    stored = plan("z-image", 512, 512, "8GB", device="cpu/mlx", disk_limit="3GB", work=True)
    assert stored.storage == Storage(3 * 10**9, True)
    assert read_plan(stored.to_json()) == stored
    usual = plan("z-image", 512, 512, "8GB", device="cpu/mlx", disk_limit="3GB")
    assert "all maps on disk" in str(stored)
    assert "all maps on disk" not in str(usual)
    assert max(map(len, str(stored).splitlines())) <= 80, str(stored)


NOTHING = [(value, 0) for value in (0, 0.0, "0", " 0.0 ", "0GB", "0 MiB", "0B", "0%", "00")]


@pytest.mark.parametrize(
    ("value", "limit"), [(None, None), ("2GB", 2 * 10**9), (1.5, 1_500_000_000), ("0.5GB", 5 * 10**8), *NOTHING]
)
def test_disk_limits(value: str | float | None, limit: int | None) -> None:
    assert disk_limit_of(value) == limit


@pytest.mark.parametrize("value", ["much", -1, True, "120%", "0 miles", "", pytest.param(10**5000, id="huge")])
def test_a_disk_limit_that_is_no_amount(value: str | float) -> None:
    with pytest.raises(InputError, match="disk_limit must be"):
        disk_limit_of(value)
