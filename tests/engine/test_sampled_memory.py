"""What sampled keys take: predicted >= counted by the dry run, and >= measured by the allocator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.engine.dry_runs import CPUS, LITTLE, allocated, dry, planned, predicted
from tests.engine.test_sampled import SHAPES, random_size
from tests.support.models import save_random
from tests.support.plans import random_config
from tests.support.samples import Seeds
from zvae_tiled import VAE, Sampled
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.families import config_of
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.case import ITEMSIZES


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("plans", [1, pytest.param(500, marks=pytest.mark.slow)])
def test_every_sweep_is_predicted_high_enough(plans: int, shape: str, seeds: Seeds) -> None:
    for seed in seeds(plans):
        rng = Random(seed)
        config = replace(random_config(rng), mid_block_add_attention=True)
        size, dtype = random_size(shape, rng, 60), rng.choice(sorted(ITEMSIZES))
        device = replace(rng.choice(CPUS), band_rows=rng.choice([1, 2, 5, 16, 64]))
        quality = Sampled(rng.choice([64, 80, 80 + size[0] * size[1] // 3]))
        plan = planned(config, *size, dtype, rng.choice([0, rng.random(), 1]), "decode", device, quality)
        for stretch, (real, model) in enumerate(zip(dry(plan, device).peaks, predicted(plan), strict=True)):
            assert real <= model, f"seed {seed}, norm {stretch}: {real:,} bytes, predicted {model:,}\n{plan}"


@pytest.mark.slow
def test_a_published_model_is_not_predicted_by_far_too_high() -> None:
    plan = planned(config_of("sdxl"), 96, 96, "bfloat16", 0, "decode", CPUS[3], Sampled(4096))
    assert plan.sampled == 4096
    assert max(predicted(plan)) <= 1.6 * max(dry(plan, CPUS[3]).peaks)


@pytest.mark.parametrize("kernels", ["auto", pytest.param("mlx", marks=pytest.mark.slow)])
@pytest.mark.parametrize("share", [1.0, pytest.param(0.0, marks=pytest.mark.slow)])
def test_the_allocator_takes_no_more(
    kernels: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    config = AutoencoderKLConfig(block_out_channels=(48,), latent_channels=4, norm_num_groups=4)
    device = cpu_device(True)
    plan = planned(config, 70, 50, "bfloat16", share, "decode", device, Sampled(900))
    vae = VAE.load(save_random(config, tmp_path / "vae.safetensors"), "bfloat16", True, config)
    real = allocated(vae, plan, device, tmp_path)
    assert real <= max(predicted(plan)) + LITTLE, f"{real:,} allocated\n{plan}"
