"""Random VAEs of all families but AutoencoderKL: the same promises, in decode and encode."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chain64 import chain64
from tests.support.float64 import ready_images
from tests.support.models import pipelines, random_vae, whole_decode, whole_encode
from tests.support.plans import bits, random_kin, random_plan
from tests.support.samples import examples
from zvae_tiled import VAE, Latents
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import VAEConfig
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import ready_latents
from zvae_tiled.planner.ends import PROCESS


def as_near(bands: Any, full: Any, want: np.ndarray) -> bool:
    """Whether the RMS error of bands is about that of whole maps. Norms of two channels magnify both."""
    errors = [np.sqrt(np.square(np.asarray(found) - want).mean() / np.square(want).mean()) for found in (bands, full)]
    return bool(errors[0] <= 8 * errors[1] + 1e-6) and bool(errors[1] < 1e-3)


def pixels(rows: np.ndarray, config: VAEConfig) -> np.ndarray:
    """The decoder's values as `raw=True` returns them."""
    rows = 2 * rows - 1 if config.unit else rows
    return np.clip(rows, -1, 1) if config.clips else rows


@given(st.integers(0, 1 << 32))
@examples(10)
def test_any_plans_decode_to_the_same_bytes_as_near_to_float64_as_whole_maps(seed: int) -> None:
    rng = Random(seed)
    config, height, width, batch = random_kin(rng), rng.randint(1, 9), rng.randint(1, 9), rng.choice([1, 1, 2])
    vae, latents = random_vae(config, seed=seed % 99), pipelines(config, height, width, batch, seed)
    patch = config.latents.patch
    plans = [random_plan(config, height * patch, width * patch, "float32", rng, batch) for _ in range(2)]
    first, second = (vae.decode(latents, plan=plan, raw=True) for plan in plans)
    assert bits(first) == bits(second)
    ready = ready_latents(read_latents(latents, config), config, vae.weights, mx.float32, scaled=True)
    want = pixels(chain64(vae, config.chain("decode"), ready), config)
    assert as_near(first, pixels(np.asarray(whole_decode(vae, ready)), config), want)
    if not config.latents.only_scaled:
        own = vae.decode(Latents(latents, scaled=False), plan=plans[0], raw=True)
        assert own.shape == first.shape


@given(st.integers(0, 1 << 32))
@examples(20)
def test_any_plans_encode_to_the_same_bytes_as_near_to_float64_as_whole_maps(seed: int) -> None:
    rng = Random(seed)
    config, height, width = random_kin(rng), rng.randint(1, 5), rng.randint(1, 5)
    vae, cell, patch = random_vae(config, seed=seed % 99), config.cell, config.latents.patch
    images = np.random.default_rng(seed).random((1, height * cell, width * cell, config.image_channels), np.float32)
    size = (height * patch, width * patch)
    plans = [random_plan(config, *size, "float32", rng, task="encode") for _ in range(2)]
    first, second = (vae.encode(images, plan=plan) for plan in plans)
    assert bits(first.mean) == bits(second.mean)
    assert bits(first.logvar) == bits(second.logvar)
    given_images = ready_images(vae, images)
    moments, moments64 = whole_encode(vae, given_images), chain64(vae, config.chain("encode"), given_images)
    channels, grain = config.latents.returned
    assert first.mean.shape == (1, channels, height * grain, width * grain)
    own = unscale_latents(read_latents(first.mode(), config), config.latents, vae.weights)
    if config.latents.deterministic:
        assert bits(first.sample()) == bits(first.mean)
    read = slice(own.shape[-1])  # a mean, and if there is one, the log-variance after it
    assert as_near(own, moments[..., read], moments64[..., read])


@pytest.mark.parametrize("seed", [1, 0, *range(2, 8)])
@pytest.mark.sample(8)
def test_a_run_stays_below_its_prediction_and_that_below_the_budget(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    config, dtype = random_kin(rng), rng.choice(["float32", "bfloat16"])
    vae = random_vae(config, dtype)
    latents = pipelines(config, rng.randint(4, 20), rng.randint(4, 20), 1, seed)
    images = rng.random() < 0.3
    given: Any = vae.decode(latents, "np") if images else latents
    needed = refused(vae, given, images)
    for budget in (needed, int(1.1 * (needed - PROCESS)) + PROCESS, 1 << 30):
        run = vae.encode if images else vae.decode
        report = run(given, budget=f"{budget}B", return_report=True, spill_folder=tmp_path)[1]
        assert report.measured_peak <= report.predicted_peak - PROCESS < report.budget


def refused(vae: VAE, given: Any, images: bool) -> int:
    with pytest.raises(BudgetError) as error:
        (vae.encode if images else vae.decode)(given, budget="1B")
    return error.value.needed
