"""Decoders and encoders that compute squares: the same bytes from any plan, near float64, within the budget."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_families import pixels, refused
from tests.kernels.native import PATHS
from tests.support.chain64 import chain64
from tests.support.float64 import ready_images, widened
from tests.support.models import random_images, random_latents, random_vae, whole_decode, whole_encode
from tests.support.plans import bits, random_plan
from tests.support.samples import examples
from zvae_tiled.families import VAEConfig
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import ready_latents as made_ready
from zvae_tiled.planner.ends import PROCESS

pytestmark = pytest.mark.skipif(not PATHS, reason="built without the native kernels")

CONFIGS: tuple[VAEConfig, ...] = (
    AutoencoderKLConfig(block_out_channels=(36, 72), layers_per_block=1, norm_num_groups=4),
    QwenImageConfig(base_dim=32, dim_mult=(1, 2), num_res_blocks=1, temperal_downsample=(False,)),
    TinyConfig(
        encoder_block_out_channels=(32, 64),
        decoder_block_out_channels=(64, 32),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
        pools=True,
    ),
)
ERRORS = {"float32": 1.6, "bfloat16": 1.1}
"""The RMS error of bands, as a share of the full decode's, at most: float32 rounds differences of pixels once more."""

configs, dtypes, sides = st.sampled_from(CONFIGS), st.sampled_from(sorted(ERRORS)), st.integers(1, 19)


def error(found: np.ndarray, want: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - want).mean()))


@given(configs, dtypes, sides, sides, st.integers(0, 1 << 32))
@examples(20)
def test_any_plans_decode_to_the_same_bytes(config: VAEConfig, dtype: str, height: int, width: int, seed: int) -> None:
    rng, vae, latents = Random(seed), random_vae(config, dtype), random_latents(config, height, width, seed=seed % 99)
    plans = [random_plan(config, height, width, dtype, rng) for _ in range(3)]
    first, *others = (bits(vae.decode(latents, plan=plan, raw=True)) for plan in plans)
    assert set(others) == {first}
    assert bits(vae.decode(latents, raw=True)) == first


@given(configs, dtypes, sides, sides, st.integers(0, 1 << 32))
@examples(20)
def test_any_plans_encode_to_the_same_bytes(config: VAEConfig, dtype: str, height: int, width: int, seed: int) -> None:
    rng, vae, images = Random(seed), random_vae(config, dtype), random_images(config, height, width, seed=seed % 99)
    plans = [random_plan(config, height, width, dtype, rng, task="encode") for _ in range(2)]
    first, second = (bits(vae.encode(images, plan=plan).mean) for plan in plans)
    assert first == second


@pytest.mark.parametrize(
    ("dtype", "config"), list(product(ERRORS, CONFIGS)), ids=lambda each: getattr(each, "class_name", each)
)
@pytest.mark.sample(4)
def test_bands_are_near_to_float64(config: VAEConfig, dtype: str) -> None:
    vae, latents, images = random_vae(config, dtype), random_latents(config, 9, 15), random_images(config, 5, 7)
    ready = made_ready(read_latents(latents, config), config, vae.weights, vae.dtype, scaled=True)
    found = np.asarray(vae.decode(latents, raw=True).astype(mx.float32))
    full, want = pixels(widened(whole_decode(vae, ready)), config), chain64(vae, config.chain("decode"), ready)
    assert error(found, pixels(want, config)) <= ERRORS[dtype] * error(full, pixels(want, config))
    given_ = ready_images(vae, images)
    want, full = chain64(vae, config.chain("encode"), given_), widened(whole_encode(vae, given_))
    own = unscale_latents(read_latents(vae.encode(images).mode(), config), config.latents, vae.weights)
    read = slice(own.shape[-1])
    assert error(widened(own), want[..., read]) <= ERRORS[dtype] * error(full[..., read], want[..., read]) + 1e-6


@pytest.mark.parametrize(
    ("dtype", "config"), list(product(ERRORS, CONFIGS)), ids=lambda each: getattr(each, "class_name", each)
)
@pytest.mark.sample(4)
def test_a_run_stays_below_its_prediction_and_that_below_the_budget(
    config: VAEConfig, dtype: str, tmp_path: Path
) -> None:
    vae, latents, images = random_vae(config, dtype), random_latents(config, 13, 23), random_images(config, 7, 11)
    for given_, encodes in ((latents, False), (images, True)):
        needed = refused(vae, given_, encodes)
        for budget in (needed, int(1.2 * (needed - PROCESS)) + PROCESS, 1 << 30):
            run = vae.encode if encodes else vae.decode
            report = run(given_, budget=f"{budget}B", return_report=True, spill_folder=tmp_path)[1]
            assert report.measured_peak <= report.predicted_peak - PROCESS < report.budget
