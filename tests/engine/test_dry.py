"""The dry run stands between plan and decode: predicted >= counted, and the allocator takes what was counted."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import pytest

from tests.engine.dry_runs import CPUS, LITTLE, allocated, check_predictions, dry, native, planned, predicted
from tests.families.test_dc import SMALL
from tests.support.models import save_random
from tests.support.plans import TASKS, exact_plan, random_config, random_plan, with_sweeps
from tests.support.samples import Seeds
from tests.support.toys import Blocks, LongSkip, PixelNorms
from zvae_tiled import VAE
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.mlx_gpu.memory import Im2colWorkspace
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.families import Task, VAEConfig, config_of
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.case import ITEMSIZES, Case
from zvae_tiled.planner.replay import costed


@pytest.mark.parametrize("plans", [2, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", TASKS)
def test_every_sweep_is_predicted_high_enough_and_not_by_far(task: Task, plans: int, seeds: Seeds) -> None:
    assert check_predictions(task, seeds(plans)) < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("path", [(16, 14, 32, 16, 1, 4), (32, 14, 32, 16, 2, 2), (64, 32, 32, 16, 32, 2)])
@pytest.mark.parametrize("task", TASKS)
def test_wide_maps_on_many_threads_are_predicted_high_enough(
    task: Task, path: tuple[int, int, int, int, int, int]
) -> None:
    device, rng = native(*path), Random(path[0])
    for width in (256, 512):
        height, share = rng.randint(24, 80), rng.choice([0, rng.random()])
        plan = planned(config_of("sdxl"), height, width, "bfloat16", share, task, device)
        for stretch, (real, model) in enumerate(zip(dry(plan, device).peaks, predicted(plan), strict=True)):
            assert real <= model, f"{height}x{width}, norm {stretch}: {real:,} bytes, predicted {model:,}\n{plan}"


def test_rows_written_before_the_first_strip_is_freed_are_predicted() -> None:
    device = native(2, 32, 32, 16, 32, 2)
    plan = planned(config_of("sdxl"), 17, 48, "bfloat16", 0, "decode", device)
    assert any(sweep.rows < device.band_rows and sweep.medium == "ram" for sweep in plan.sweeps)
    assert all(real <= model for real, model in zip(dry(plan, device).peaks, predicted(plan), strict=True))


def test_a_replayed_plan_of_taller_bands_is_predicted_high_enough() -> None:
    """Its strips are freed later than those of this device would be: here in a sweep that has the decode's peak."""
    config = AutoencoderKLConfig(
        latent_channels=4,
        block_out_channels=(8, 32),
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    taller = replace(CPU, band_rows=4 * CPU.band_rows)
    made = exact_plan(Case(config, 128, 4, CPU.name, "float32", output="rows"), 1 << 40, taller, weights=0)
    rows = [taller.band_rows if index < 8 else 8 for index in range(len(made.sweeps))]
    sweeps = [replace(sweep, rows=each, anew=True) for sweep, each in zip(made.sweeps, rows, strict=True)]
    plan = costed(with_sweeps(made, sweeps), CPU, weights=0)
    assert all(real <= model for real, model in zip(dry(plan).peaks, predicted(plan), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_so_are_plans_of_other_cpus(task: Task) -> None:
    for seed in range(300):
        rng = Random(seed)
        there, here = (replace(rng.choice(CPUS), band_rows=rows) for rows in (64, rng.choice([4, 16])))
        config, longest = random_config(rng), 60 if task == "decode" else 100
        size = rng.randint(1, longest), rng.randint(1, 12)
        made = planned(config, *size, rng.choice(sorted(ITEMSIZES)), rng.choice([0, 1, rng.random()]), task, there)
        plan = costed(made, here, weights=0)
        for stretch, (real, model) in enumerate(zip(dry(plan, here).peaks, predicted(plan), strict=True)):
            assert real <= model, f"seed {seed}, norm {stretch}: {real:,} bytes, predicted {model:,}\n{plan}"


@pytest.mark.parametrize(
    ("model", "task", "share"), list(product([("z-image", "bfloat16"), ("sdxl", "float32")], TASKS, [0, 0.3, 1]))
)
@pytest.mark.sample(10)
def test_the_published_models_are_predicted_to_10_percent(task: Task, model: tuple[str, str], share: float) -> None:
    preset, dtype = model
    plan = planned(config_of(preset), 64, 48, dtype, share, task)
    counted, foreseen = dry(plan).peaks, predicted(plan)
    assert all(real <= model for real, model in zip(counted, foreseen, strict=True))
    assert max(foreseen) <= 1.1 * max(counted)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.sample(2)
def test_every_row_is_computed_once_a_sweep(task: Task) -> None:
    for seed in range(5):
        rng = Random(seed)
        config, dtype = random_config(rng), rng.choice(sorted(ITEMSIZES))
        height, width = rng.randint(1, 30), rng.randint(1, 8)
        for plan in (
            random_plan(config, height, width, dtype, rng, task=task),  # bands of any height
            planned(config, height, width, dtype, rng.random(), task),
        ):
            rows = dry(plan).rows_of
            for cut, step in enumerate(plan.case.chain.steps):
                passes = sum(sweep.start <= cut < sweep.stop for sweep in plan.sweeps)
                assert rows[step.name] == passes * height * plan.case.chain.factors[cut + 1]
            assert rows["keys"] == height * config.mid_block_add_attention


@pytest.mark.parametrize(
    ("kernels", "task", "dtype", "share", "attention"),
    list(product(["auto", "mlx"], TASKS, sorted(ITEMSIZES), [0, 0.4, 1], [False, True])),
)
@pytest.mark.sample(69)
@pytest.mark.bytes
def test_the_allocator_agrees_with_the_dry_run(
    task: Task, dtype: str, share: float, attention: bool, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    rng, device = Random(f"{dtype} {share} {attention}"), cpu_device(dtype == "bfloat16")
    config = replace(random_config(rng, narrowest=6), mid_block_add_attention=attention)
    if attention:  # a block of keys has 2,048 pixels, and the plan predicts a full block for smaller maps too
        config = replace(
            config, block_out_channels=config.block_out_channels[:1], down_block_types=(), up_block_types=()
        )
    height, width = (rng.randint(46, 60) if attention else rng.randint(20, 40) for _ in range(2))
    plan = planned(config, height, width, dtype, share, task, device)
    vae = VAE.load(save_random(config, tmp_path / "vae.safetensors"), dtype, task == "decode", config)
    counted, real = max(dry(plan, device).peaks), allocated(vae, plan, device, tmp_path)
    assert abs(counted - real) <= 0.04 * real + LITTLE, f"{counted:,} counted, {real:,} allocated\n{plan}"


@pytest.mark.parametrize(
    ("config", "task"),
    [(LongSkip(), "decode"), (PixelNorms(), "decode"), (Blocks(), "decode"), (Blocks(), "encode"), (SMALL, "decode")],
    ids=lambda given: given if isinstance(given, str) else given.class_name,
)
@pytest.mark.parametrize("device", CPUS, ids=range(len(CPUS)))
@pytest.mark.sample(6)
def test_other_chains_are_predicted(device: Device, config: VAEConfig, task: Task) -> None:
    for height, share in ((1, 0), (9, 0), (40, 0), (40, 0.5), (40, 1)):
        plan = planned(config, height, 11, "bfloat16", share, task, device)
        real, model = max(dry(plan, device).peaks), max(predicted(plan))  # RMS norms are folded at any time
        assert real <= model, f"{height}: {real:,} bytes, predicted {model:,}\n{plan}"


@pytest.mark.parametrize("task", TASKS)
def test_blocks_are_predicted_where_a_doubled_map_is_convolved(task: Task) -> None:
    test_other_chains_are_predicted(replace(CPU, workspace=Im2colWorkspace()), Blocks(), task)
