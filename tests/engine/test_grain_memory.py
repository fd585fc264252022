"""Plans for devices with grains: the rows that wait are counted, and bands hold whole grains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.engine.dry_runs import CPUS, LITTLE, allocated, check_predictions, dry, planned, predicted
from tests.support.grains import give_grains, grained
from tests.support.models import save_random
from tests.support.plans import TASKS, exact_plan, random_any, random_config, random_plan
from tests.support.samples import Seeds
from tests.support.toys import Blocks, LongSkip, PixelNorms
from zvae_tiled import VAE
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.devices.table import DEVICES
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import Task, VAEConfig, config_of
from zvae_tiled.planner.case import Case

GRAINED = tuple(map(grained, CPUS))


@pytest.mark.slow
@pytest.mark.parametrize("plans", [15, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", TASKS)
def test_every_sweep_with_grains_is_predicted_high_enough_and_not_by_far(task: Task, plans: int, seeds: Seeds) -> None:
    assert check_predictions(task, seeds(plans), GRAINED, bands=(4, 8, 16, 16)) < 1.2


@pytest.mark.parametrize(
    "config", [LongSkip(), PixelNorms(), Blocks(), config_of("taesd")], ids=lambda config: config.class_name
)
@pytest.mark.parametrize("device", GRAINED, ids=range(len(GRAINED)))
@pytest.mark.sample(9)
def test_chains_without_barriers_are_predicted(device: Device, config: VAEConfig) -> None:
    for height, share in ((1, 0), (9, 0), (40, 0), (40, 0.5), (40, 1)):
        plan = planned(config, height, 11, "bfloat16", share, "decode", device)
        real, model = max(dry(plan, device).peaks), max(predicted(plan))
        assert real <= model, f"{height}: {real:,} bytes, predicted {model:,}\n{plan}"


def test_every_row_is_computed_once_a_sweep(seeds: Seeds) -> None:
    """The dry run refuses rows that begin inside a grain. Bands have any height here."""
    for seed in seeds(10):
        rng = Random(seed)
        config, task, height = random_config(rng), rng.choice(TASKS), rng.randint(1, 30)
        plan = random_plan(config, height, rng.randint(1, 8), "float32", rng, task=task)
        rows = dry(plan, rng.choice(GRAINED)).rows_of
        for cut, step in enumerate(plan.case.chain.steps):
            passes = sum(sweep.start <= cut < sweep.stop for sweep in plan.sweeps)
            assert rows[step.name] == passes * height * plan.case.chain.factors[cut + 1]


@pytest.mark.parametrize(("task", "dtype", "share"), [("decode", "bfloat16", 0.4), ("encode", "float32", 0)])
@pytest.mark.parametrize("kernels", ["mlx", "auto"])
@pytest.mark.sample(3)
def test_the_allocator_agrees_with_the_dry_run(
    task: Task, dtype: str, share: float, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    give_grains(monkeypatch)
    rng, device = Random(1), cpu_device(dtype == "bfloat16")
    config = replace(random_config(rng, narrowest=6), mid_block_add_attention=False)
    plan = planned(config, rng.randint(20, 40), rng.randint(20, 40), dtype, share, task, device)
    vae = VAE.load(save_random(config, tmp_path / "vae.safetensors"), dtype, task == "decode", config)
    counted, real = max(dry(plan, device).peaks), allocated(vae, plan, device, tmp_path)
    assert abs(counted - real) <= 0.04 * real + LITTLE, f"{counted:,} counted, {real:,} allocated\n{plan}"


@pytest.mark.parametrize("cases", [1, pytest.param(300, marks=pytest.mark.slow)])
def test_the_smallest_budget_works_and_more_memory_is_never_slower(cases: int, seeds: Seeds) -> None:
    for seed in seeds(cases):
        rng = Random(seed)
        device, task = rng.choice(GRAINED), rng.choice(TASKS)
        case = Case(random_any(rng), 2 * rng.randint(1, 99), 2 * rng.randint(1, 99), device.name, "float16", task=task)
        with pytest.raises(BudgetError) as error:
            exact_plan(case, 1, device)
        needed = error.value.needed
        with pytest.raises(BudgetError) as error:
            exact_plan(case, needed - 1, device)
        assert error.value.needed == needed
        most = exact_plan(case, 1 << 60, device).predicted_peak
        plans = [exact_plan(case, needed + (most - needed) * part // 4, device) for part in range(5)]
        assert all(plan.predicted_peak <= plan.budget for plan in plans)
        seconds = [plan.predicted_seconds for plan in plans]
        assert seconds == sorted(seconds, reverse=True)


def test_a_band_of_more_than_a_grain_has_whole_grains() -> None:
    """All rows of a map, or fewer than a grain, need not be whole grains."""
    chosen = set[int]()
    for height in range(5, 16):
        for share in (0.0, 0.2, 0.4, 0.6):
            plan = planned(PixelNorms(), height, 8, "float32", share, "decode", GRAINED[0])
            chosen |= {sweep.rows for sweep in plan.sweeps if sweep.rows < height}
    assert chosen >= {4, 8}
    assert all(rows < 4 or rows % 4 == 0 for rows in chosen)


def test_bands_of_every_device_hold_whole_grains() -> None:
    for device in (*DEVICES.values(), cpu_device(False), cpu_device(True), *GRAINED):
        for step in (step for task in TASKS for step in config_of("sdxl").chain(task).steps if step.kind == "conv"):
            assert device.band_rows % (device.workspace.grain(step) * step.factor) == 0
