"""FLUX.2's latents: packed maps and tokens, which stored statistics normalise, as the decoder reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.families.flux2 import MEAN, PACKED, SMALL, VARIANCE
from tests.support.models import (
    random_latents,
    random_vae,
)
from tests.support.plans import bits
from tests.support.running import run, save_vae
from zvae_tiled import VAE, Latents, read_latent_file, write_latent_file
from zvae_tiled.errors import LatentsError
from zvae_tiled.inputs.latent_space import packed, unpacked
from zvae_tiled.jobs.decode import ready_latents


def decoders(vae: VAE, latents: np.ndarray, eps: float) -> np.ndarray:
    """A pipeline's latents as the decoder reads them, from the formula, value by value, in float64: NHWC."""
    mean, variance = (np.asarray(vae.weights[name]).astype(np.float64) for name in (MEAN, VARIANCE))
    batch, channels, height, width = latents.shape
    ready = np.zeros((batch, 2 * height, 2 * width, channels // 4))
    for c in range(channels // 4):
        for dy in (0, 1):
            for dx in (0, 1):
                k = 4 * c + 2 * dy + dx
                ready[:, dy::2, dx::2, c] = latents[:, k].astype(np.float64) * np.sqrt(variance[k] + eps) + mean[k]
    return ready


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_a_pipelines_latents_are_denormalised_and_then_unpacked(batch: int, height: int, width: int, seed: int) -> None:
    vae = random_vae(SMALL, seed=seed)
    latents = random_latents(SMALL, height, width, batch, seed)
    ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), SMALL, vae.weights, mx.float32, scaled=True)
    want = decoders(vae, latents, 1e-4)
    assert ready.shape == want.shape == (batch, 2 * height, 2 * width, SMALL.latent_channels)
    assert np.abs(np.asarray(ready) - want).max() < 1e-6 * np.abs(want).max()


def test_the_eps_of_the_config_counts() -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 3, 2)
    wide = VAE(replace(SMALL, batch_norm_eps=0.5), vae.weights, vae.dtype)
    ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), wide.config, wide.weights, mx.float32, scaled=True)
    assert np.abs(np.asarray(ready) - decoders(vae, latents, 0.5)).max() < 1e-5
    assert np.abs(np.asarray(ready) - decoders(vae, latents, 1e-4)).max() > 0.1


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.sampled_from([1, 2, 3]))
def test_packing_undoes_unpacking(batch: int, height: int, width: int, channels: int, patch: int) -> None:
    array = mx.random.normal((batch, height, width, channels * patch**2))
    assert mx.array_equal(packed(unpacked(array, patch), patch), array)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_latents_that_are_not_scaled_are_only_unpacked(dtype: str) -> None:
    vae, latents = random_vae(SMALL, dtype), random_latents(SMALL, 3, 2)
    mean, variance = (np.asarray(vae.weights[name])[:, None, None] for name in (MEAN, VARIANCE))
    own = latents * np.sqrt(variance + np.float32(1e-4)) + mean
    near = np.asarray(vae.decode(Latents(own, scaled=False), "np", raw=True)).astype(np.float32)
    want = np.asarray(vae.decode(latents, "np", raw=True)).astype(np.float32)
    assert np.abs(near - want).max() < (1e-4 if dtype == "float32" else 0.1) * want.std()
    assert np.abs(near - np.asarray(vae.decode(own, "np", raw=True)).astype(np.float32)).max() > 0.2 * want.std()


def test_tokens_of_all_packed_channels_need_the_pictures_size() -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 3, 2, batch=2)
    tokens = latents.reshape(2, PACKED, 6).transpose(0, 2, 1)  # one token for each pixel of the map, row by row
    want = bits(vae.decode(latents))
    assert bits(vae.decode(Latents(tokens, height=12, width=8))) == want
    assert bits(vae.decode(Latents(tokens, height=15, width=11))) == want  # a pipeline rounds down to whole tokens
    assert bits(vae.decode(Latents(latents.transpose(0, 2, 3, 1), "NHWC"))) == want
    assert bits(vae.decode(Latents(tokens[0], height=12, width=8))) == bits(vae.decode(latents[:1]))
    assert bits(vae.decode(Latents(tokens, height=8, width=12))) != want
    with pytest.raises(LatentsError, match=r"have the shape \(B, 12, 16\)"):
        vae.decode(Latents(tokens, height=16, width=12))
    with pytest.raises(LatentsError, match="16 channels") as refused:
        vae.decode(tokens)
    assert "pass Latents(tokens, height=…, width=…)" in refused.value.advice


def test_the_vaes_own_channels_are_no_pipelines_latents() -> None:
    """FLUX.2's decoder reads 32 channels. A pipeline's latents have 128."""
    with pytest.raises(LatentsError, match="this VAE's latents have 16 channels"):
        random_vae(SMALL).decode(np.zeros((1, SMALL.latent_channels, 4, 4), np.float32))


def test_latents_go_through_files_and_the_command_line(tmp_path: Path) -> None:
    save_vae(tmp_path / "vae", SMALL)
    latents = random_latents(SMALL, 3, 5)
    write_latent_file(tmp_path / "a.safetensors", Latents(latents.reshape(1, PACKED, 15).swapaxes(1, 2), None, 12, 20))
    vae = VAE.load(tmp_path / "vae")
    assert bits(vae.decode(read_latent_file(tmp_path / "a.safetensors"))) == bits(vae.decode(latents))
    run("decode", tmp_path / "a.safetensors", "-o", tmp_path / "a.npy", "--vae", tmp_path / "vae")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.asarray(vae.decode(latents))[0])
    told = run("inspect", tmp_path / "vae").stdout
    for line in (
        "family     AutoencoderKLFlux2",
        "latents    16 channels, one for 4x4 pixels",
        "widths     4, 8",
        "scaling    normalised by bn.running_mean and bn.running_var",
    ):
        assert line in told
