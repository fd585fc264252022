"""The end of an encode: a distribution built row by row equals that of the whole map, and takes no second copy."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.float64 import distribution64
from tests.support.models import narrow, random_images, random_vae
from tests.support.plans import bits
from tests.support.samples import examples
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.inputs.latent_space import LatentDistribution, unscale_latents
from zvae_tiled.sinks.distribution import DistributionSink

FLUX2 = Flux2Config(latent_channels=3, block_out_channels=(8, 8), norm_num_groups=4)
VAES = {config.class_name: random_vae(config) for config in (narrow("sd3"), FLUX2)}
"""One VAE without packing, and one that packs 2×2 latents and normalises them by stored statistics."""


def random_moments(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    moments = (4 * mx.random.normal(shape, key=mx.random.key(0))).astype(dtype)
    mx.eval(moments)
    return moments


@given(
    st.sampled_from(sorted(VAES)),
    st.sampled_from([mx.float32, mx.bfloat16]),
    st.integers(1, 6),
    st.integers(1, 3),
    st.lists(st.integers(1, 12), max_size=5),
)
@examples(60)
def test_bands_of_any_height_give_the_bits_of_the_whole(
    name: str, dtype: mx.Dtype, height: int, batch: int, cuts: list[int]
) -> None:
    vae = VAES[name]
    convention = vae.config.latents
    shape = (batch, 2 * height, 6)
    moments = random_moments((*shape, 2 * vae.config.latent_channels), dtype)
    sink = DistributionSink(vae.config.latents, vae.weights, shape, dtype)
    ends = sorted({0, 2 * height, *(cut for cut in cuts if cut < 2 * height)})
    for picture in range(batch):
        for top, bottom in pairwise(ends):
            sink.write(picture, moments[picture : picture + 1, top:bottom])
    found, whole = sink.result(), LatentDistribution.from_moments(moments, convention, vae.weights)
    assert found.mean.shape == (batch, convention.channels, 2 * height // convention.patch, 6 // convention.patch)
    assert bits(found.mean) == bits(whole.mean)
    assert bits(found.logvar) == bits(whole.logvar)
    if dtype == mx.float32:
        mean, logvar = distribution64(vae, np.asarray(moments).astype(np.float64))
        assert np.allclose(found.mean, mean, rtol=1e-5, atol=1e-5)
        assert np.allclose(found.logvar, logvar, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", VAES)
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.bytes
def test_it_takes_no_more_than_itself_and_a_few_copies_of_a_band(name: str, rows: int) -> None:
    vae = VAES[name]
    channels, height, width = 2 * vae.config.latent_channels, 210, 640
    band = random_moments((1, rows, width, channels), mx.bfloat16)
    sink = DistributionSink(vae.config.latents, vae.weights, (1, height, width), mx.bfloat16)
    result, one = 2 * height * width * channels, width * channels * 2
    gc.collect()
    limit, before = mx.set_cache_limit(0), mx.get_active_memory()
    mx.reset_peak_memory()
    for _ in range(height // rows):
        sink.write(0, band * 1)
        assert mx.get_active_memory() - before <= result + one + 8192, "a row that waits holds on to its band"
    mx.set_cache_limit(limit)
    assert mx.get_peak_memory() - before <= result + 12 * (rows + 1) * one + 8192


@pytest.mark.parametrize("name", VAES)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
def test_not_scaled_it_is_the_encoders_own(name: str, dtype: mx.Dtype) -> None:
    vae = VAES[name]
    moments = random_moments((2, 6, 4, 2 * vae.config.latent_channels), dtype)
    sink = DistributionSink(vae.config.latents.own, vae.weights, (2, 6, 4), dtype)
    for picture in range(2):
        sink.write(picture, moments[picture : picture + 1, :3])
        sink.write(picture, moments[picture : picture + 1, 3:])
    mean, logvar = mx.split(mx.moveaxis(moments, -1, 1), 2, axis=1)
    assert bits(sink.result().mean) == bits(mean)
    assert bits(sink.result().logvar) == bits(mx.clip(logvar, -30, 20))


@pytest.mark.parametrize("name", VAES)
def test_an_encode_that_is_not_scaled_decodes_as_such(name: str) -> None:
    vae = VAES[name]
    images = random_images(vae.config, 16, 24)
    own, scaled = (vae.encode(images, scaled=scaled).mean for scaled in (False, True))
    assert own.shape[1] == vae.config.latent_channels
    back = unscale_latents(mx.moveaxis(scaled, 1, -1), vae.config.latents, vae.weights)
    assert np.allclose(mx.moveaxis(own, 1, -1), back, rtol=1e-3, atol=1e-3)


def test_a_picture_that_its_caller_does_not_keep_is_freed_before_the_encode() -> None:
    """A picture of a file in floats lay beside its copy to the end, which no plan counts."""
    vae, alive = VAES[FLUX2.class_name], list[bool]()
    images = random_images(vae.config, 4, 4).astype(np.float32)
    seen = weakref.ref(images)
    hand_over = [images]
    del images
    vae.encode(hand_over.pop(), progress=lambda _: alive.append(seen() is not None))
    assert alive
    assert not any(alive)
