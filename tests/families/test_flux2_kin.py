"""VAEs of FLUX.2's shapes whose pipelines have other conventions: Ideogram 4, ERNIE-Image, FIBO 2."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.families.flux2 import MEAN, SMALL, VARIANCE
from tests.support.models import random_images, random_latents, random_vae
from tests.support.plans import bits
from zvae_tiled import VAE, Latents, config_of
from zvae_tiled.errors import ConfigError, LatentsError
from zvae_tiled.families import config_from
from zvae_tiled.jobs.decode import ready_latents

IDEOGRAM, FIBO = replace(SMALL, pipeline="ideogram4"), replace(SMALL, pipeline="fibo2")
CHANNELS = SMALL.latent_channels
ORDER = [4 * c + 2 * dy + dx for dy in (0, 1) for dx in (0, 1) for c in range(CHANNELS)]
"""For each packed channel of Ideogram 4, that of FLUX.2."""


def spread(packed: np.ndarray) -> np.ndarray:
    """A packed map of FLUX.2, NCHW, as the map it holds."""
    batch, channels, height, width = packed.shape
    cells = packed.reshape(batch, channels // 4, 2, 2, height, width).transpose(0, 1, 4, 2, 5, 3)
    return cells.reshape(batch, channels // 4, 2 * height, 2 * width)


def ideogram(flux2: VAE) -> VAE:
    """The same VAE, with statistics in the order of Ideogram 4."""
    weights = {name: flux2.weights[name][mx.array(ORDER)] for name in (MEAN, VARIANCE)}
    return VAE(IDEOGRAM, {**flux2.weights, **weights}, flux2.dtype)


@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 4))
def test_ideogram_packs_rows_columns_and_then_channels(batch: int, height: int, width: int) -> None:
    flux2, latents = random_vae(SMALL), random_latents(SMALL, height, width, batch)
    nhwc = mx.array(latents.transpose(0, 2, 3, 1))
    want = ready_latents(nhwc, SMALL, flux2.weights, mx.float32, scaled=True)
    theirs = ideogram(flux2)
    ready = ready_latents(nhwc[..., mx.array(ORDER)], IDEOGRAM, theirs.weights, mx.float32, scaled=True)
    assert bits(ready) == bits(want)


def test_tokens_of_ideogram_decode_and_pictures_come_back() -> None:
    flux2, latents, images = random_vae(SMALL), random_latents(SMALL, 3, 2), random_images(SMALL, 3, 2)
    theirs = ideogram(flux2)
    tokens = latents[:, ORDER].reshape(1, len(ORDER), 6).transpose(0, 2, 1)
    assert bits(theirs.decode(Latents(tokens, height=12, width=8))) == bits(flux2.decode(latents))
    want, found = flux2.encode(images), theirs.encode(images)
    assert bits(found.mode()) == bits(mx.contiguous(want.mode()[:, mx.array(ORDER)]))
    assert bits(found.logvar) == bits(mx.contiguous(want.logvar[:, mx.array(ORDER)]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fibo_returns_the_map_unpacked(dtype: str) -> None:
    flux2, latents, images = random_vae(SMALL, dtype), random_latents(SMALL, 5, 3, 2), random_images(SMALL, 5, 3, 2)
    theirs = VAE(FIBO, flux2.weights, flux2.dtype)
    assert bits(theirs.decode(spread(latents))) == bits(flux2.decode(latents))
    want, found = flux2.encode(images), theirs.encode(images)
    for ours, packed in ((found.mode(), want.mode()), (found.logvar, want.logvar)):
        assert ours.shape == (2, CHANNELS, 10, 6)
        whole = spread(np.asarray(packed.astype(mx.float32)))
        assert np.array_equal(np.asarray(ours.astype(mx.float32)), whole)
    assert theirs.decode(found.mode()).shape == (2, 20, 12, 3)


def test_what_fibo_cannot_have_returned_is_refused() -> None:
    theirs = random_vae(FIBO)
    with pytest.raises(LatentsError, match="must be multiples of 2, they are 5 and 4"):
        theirs.decode(np.zeros((1, CHANNELS, 5, 4), np.float32))
    with pytest.raises(LatentsError, match=f"latents have {CHANNELS} channels"):
        theirs.decode(np.zeros((1, 4 * CHANNELS, 4, 4), np.float32))
    with pytest.raises(LatentsError, match=r"not packed; a packed map .* is FLUX\.2's"):
        theirs.decode(np.zeros((1, 4 * CHANNELS, 4, 4), np.float32))


def test_ernie_adds_another_eps() -> None:
    assert config_of("ernie-image").different_from(config_of("flux2")) == "batch_norm_eps=1e-05"


def test_another_pipeline_is_refused() -> None:
    with pytest.raises(ConfigError, match="pipeline must be flux2, ideogram4 or fibo2"):
        config_from({"_class_name": "AutoencoderKLFlux2", "pipeline": "other"})
