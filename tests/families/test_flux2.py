"""FLUX.2: AutoencoderKL's network behind packed latents that stored statistics normalise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from random import Random

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.families.flux2 import CELL, MEAN, PACKED, SMALL, VARIANCE
from tests.support.float64 import decode64, encode64, ready_images
from tests.support.models import (
    random_images,
    random_latents,
    random_vae,
    whole_decode,
    whole_encode,
)
from tests.support.plans import bits, plan_for
from tests.support.samples import examples
from zvae_tiled import VAE, Latents, plan
from zvae_tiled.errors import BudgetError, ImageError, PlanError
from zvae_tiled.families import VAEConfig
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.inputs.latent_space import LatentDistribution
from zvae_tiled.jobs.decode import ready_latents
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality, Tiles

SIDE = 80
"""Latents a side, in a decode whose memory is mostly latents."""


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, decoder_block_out_channels=(6, 12))])
def test_decode_and_encode_equal_plain_numpy_in_float64(config: Flux2Config) -> None:
    vae = random_vae(config)
    latents, images = random_latents(config, 3, 4), random_images(config, 3, 4)
    want = decode64(vae, latents)
    got = vae.decode(latents, "np", raw=True)
    assert np.abs(got - want).max() < 1e-4 * want.std()
    mean, logvar = np.split(encode64(vae, images), 2, axis=-1)
    channels = range(PACKED)
    bn = [np.asarray(vae.weights[name]).astype(np.float64) for name in (MEAN, VARIANCE)]
    found = vae.encode(images)
    for half, own in (("mean", mean), ("logvar", logvar)):
        got = np.asarray(getattr(found, half))
        assert got.shape == (1, PACKED, 3, 4)
        for k in channels:
            c, dy, dx = k // 4, k // 2 % 2, k % 2
            cell = own[:, dy::2, dx::2, c]
            spread = np.sqrt(bn[1][k] + 1e-4)
            want = (cell - bn[0][k]) / spread if half == "mean" else cell - 2 * np.log(spread)
            assert np.abs(got[:, k] - want).max() < 1e-4 * max(1, np.abs(want).max())


@examples(20)
@given(st.randoms(use_true_random=False), st.sampled_from(["float32", "bfloat16"]))
def test_bands_of_any_height_equal_the_reference(rng: Random, dtype: str) -> None:
    config = replace(
        SMALL,
        latent_channels=rng.choice([1, 2, 5]),
        decoder_block_out_channels=rng.choice([None, (6, 10), (12, 6)]),
        mid_block_add_attention=rng.random() < 0.7,
        use_post_quant_conv=rng.random() < 0.7,
    )
    vae = random_vae(config, dtype, rng.randrange(100))
    height, width = rng.randint(1, 6), rng.randint(1, 6)
    latents = random_latents(config, height, width, seed=rng.randrange(100))
    made = plan_for(vae, latents.shape, rng)
    ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), config, vae.weights, vae.dtype, scaled=True)
    want = np.asarray(whole_decode(vae, ready).astype(mx.float32))
    got = np.asarray(vae.decode(latents, raw=True, plan=made).astype(mx.float32))
    near = 1e-4 if dtype == "float32" else 0.15
    assert np.abs(got - want).max() < near * max(want.std(), 0.1)


def test_any_two_budgets_give_the_same_bits_and_keep_the_promise() -> None:
    for seed, dtype in enumerate(["float32", "bfloat16"]):
        vae = random_vae(SMALL, dtype, seed)
        latents, images = random_latents(SMALL, 12, 17), random_images(SMALL, 12, 17)
        for do in (vae.decode, vae.encode):
            given_ = latents if do == vae.decode else images
            with pytest.raises(BudgetError) as refused:
                do(given_, budget="1kB")
            found, digests = set(), set()
            for budget in (refused.value.needed, 10**9):
                result, report = do(given_, budget=f"{budget}B", return_report=True)
                found.add(bits(result.mean if isinstance(result, LatentDistribution) else result))
                digests.add(report.plan.digest)
                assert 0 < report.measured_peak <= report.predicted_peak - PROCESS
                assert report.predicted_peak <= report.budget == budget
            assert len(digests) == 2, "these are two plans"
            assert len(found) == 1


@pytest.mark.parametrize(
    ("family", "dtype", "given_", "scaled"),
    list(
        product(
            [Flux2Config, AutoencoderKLConfig],
            ["float32", "bfloat16"],
            [mx.float32, mx.float16, mx.bfloat16],
            [True, False],
        )
    ),
)
@pytest.mark.sample(15)
def test_latents_that_are_most_of_a_decode_are_counted(
    family: Callable[..., VAEConfig], dtype: str, given_: mx.Dtype, scaled: bool
) -> None:
    """They are in pictures of some hundred megapixels, and in any picture if the VAE has few other channels."""
    config = family(latent_channels=64, block_out_channels=(1, 1), layers_per_block=1, norm_num_groups=1)
    vae, side = random_vae(config, dtype), SIDE // config.latents.patch
    latents = Latents(mx.random.normal((1, config.latents.channels, side, side)).astype(given_), scaled=scaled)
    with pytest.raises(BudgetError) as refused:
        vae.decode(latents, budget="1kB")
    report = vae.decode(latents, budget=f"{refused.value.needed}B", return_report=True)[1]
    arrays = report.predicted_peak - PROCESS
    assert 0.2 * arrays < 4 * SIDE * SIDE * 64
    assert report.measured_peak <= arrays < report.predicted_peak <= report.budget


@pytest.mark.parametrize("quality", ["exact", "stream", Tiles(24, 16), Tiles(24, 8, moments="tile")], ids=str)
@pytest.mark.sample(3)
def test_in_every_quality_it_is_what_autoencoder_kl_decodes_of_its_unpacked_latents(quality: str | Quality) -> None:
    flux2, latents = random_vae(SMALL), random_latents(SMALL, 8, 9)
    same = {name: getattr(SMALL, name) for name in ("latent_channels", "block_out_channels", "norm_num_groups")}
    kl = VAE(AutoencoderKLConfig(**same, layers_per_block=1), flux2.weights, flux2.dtype)
    own = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), SMALL, flux2.weights, flux2.dtype, scaled=True)
    want, theirs = kl.decode(Latents(own, "NHWC", scaled=False), quality=quality, return_report=True)
    picture, report = flux2.decode(latents, quality=quality, return_report=True)
    assert picture.shape == (1, 32, 36, 3)
    assert bits(picture) == bits(want)
    assert (report.exact, report.statistics) == (theirs.exact, theirs.statistics)


def test_a_picture_comes_back_in_its_size() -> None:
    vae, images = random_vae(SMALL), random_images(SMALL, 3, 5, batch=2)
    latents = vae.encode(images).mode()
    assert latents.shape == (2, PACKED, 3, 5)
    assert vae.decode(latents, "np").shape == images.shape


def test_what_is_encoded_is_what_the_decoder_reads() -> None:
    """Denormalised and unpacked again, the mode is the encoder's own mean."""
    vae, images = random_vae(SMALL), random_images(SMALL, 3, 5)
    own = whole_encode(vae, ready_images(vae, images))[..., : SMALL.latent_channels]
    mode = vae.encode(images).mode().transpose(0, 2, 3, 1)
    ready = ready_latents(mode, SMALL, vae.weights, vae.dtype, scaled=True)
    assert np.abs(np.asarray(ready) - np.asarray(own)).max() < 1e-5


def test_a_sample_spreads_as_the_encoder_says() -> None:
    vae, images = random_vae(SMALL), random_images(SMALL, 3, 5)
    found = vae.encode(images)
    draws = np.stack([np.asarray(found.sample(mx.random.key(seed))) for seed in range(400)])
    spread = np.exp(np.asarray(found.logvar) / 2)
    assert np.abs(draws.mean(0) - np.asarray(found.mean)).max() < 0.3 * spread.max()
    assert np.allclose(draws.std(0) / spread, 1, atol=0.2)


@pytest.mark.parametrize("side", [2, 6, 13])
def test_pictures_are_whole_packed_pixels(side: int) -> None:
    vae = random_vae(SMALL)
    with pytest.raises(ImageError, match=f"{CELL}"):
        vae.encode(np.zeros((1, side, 8, 3), np.float32))
    with pytest.raises(PlanError, match=f"height must be a multiple of {CELL}"):
        vae.plan(side, 8)
    with pytest.raises(PlanError, match="width must be a multiple of 16"):
        plan("flux2", 64, 16 * side + 8, "8GB")


def test_groups_of_three_channels_decode() -> None:
    """The small decoder's narrowest norms have 32 groups of 3: no power of two."""
    config = Flux2Config(
        latent_channels=2,
        block_out_channels=(32, 64),
        decoder_block_out_channels=(96, 96),
        layers_per_block=1,
        norm_num_groups=32,
    )
    latents = random_latents(config, 3, 2)
    for dtype, near in (("float32", 1e-4), ("bfloat16", 0.1)):
        vae = random_vae(config, dtype)
        ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), config, vae.weights, vae.dtype, scaled=True)
        want = np.asarray(whole_decode(vae, ready).astype(mx.float32))
        got = np.asarray(vae.decode(latents, raw=True).astype(mx.float32))
        assert np.abs(got - want).max() < near * want.std()
