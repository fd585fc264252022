"""From a file to a picture: packed or not, scaled or not, the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file
from zvae_tiled.model.autoencoder import unscale_latents

from tests.support.models import random_latents, random_vae
from tests.support.plans import bits
from tests.test_latents import pack
from zvae_tiled import read_latent_file, write_latent_file

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 4), norm_num_groups=2, scaling_factor=0.3611, shift_factor=0.1159)
VAE = random_vae(CONFIG)
LATENTS = random_latents(CONFIG, 6, 8)
WANT = bits(VAE.decode(LATENTS))


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
@pytest.mark.parametrize("said", [{}, {"packed": True}])
def test_packed_tokens_know_their_picture(kind: str, said: dict[str, Any], tmp_path: Path) -> None:
    write_latent_file(tmp_path / f"a.{kind}", pack(LATENTS), height=12, width=16, **said)
    file = read_latent_file(tmp_path / f"a.{kind}")
    assert bits(VAE.decode(file.latents, **file.options)) == WANT


@pytest.mark.parametrize("said", [{}, {"height": 12, "width": 16}, {"height": 12, "width": 16, "packed": False}])
def test_latents_that_are_not_packed_may_know_it_too(said: dict[str, Any], tmp_path: Path) -> None:
    for latents, layout in ((LATENTS, None), (LATENTS.transpose(0, 2, 3, 1), "NHWC")):
        write_latent_file(tmp_path / "a.safetensors", latents, layout=layout, **said)  # type: ignore[arg-type]
        file = read_latent_file(tmp_path / "a.safetensors")
        assert bits(VAE.decode(file.latents, **file.options)) == WANT


@pytest.mark.parametrize("frames", [False, True])
def test_comfyuis_latents_are_nchw_whatever_their_shape(frames: bool, tmp_path: Path) -> None:
    channels = CONFIG.latent_channels
    latents = np.random.default_rng(0).standard_normal((1, channels, 6, channels)).astype(np.float32)
    tensors: dict[str, Any] = {
        "latent_tensor": latents[:, :, None] if frames else latents,
        "latent_format_version_0": np.zeros(0),
    }
    save_file(tensors, tmp_path / "a.latent")
    file = read_latent_file(tmp_path / "a.latent")
    assert bits(VAE.decode(file.latents, **file.options)) == bits(VAE.decode(latents, scaled=False))


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_unscaled_latents_go_to_the_decoder_as_they_are(dtype: mx.Dtype, tmp_path: Path) -> None:
    scaled = mx.array(LATENTS).astype(dtype)
    want = VAE.decode(scaled)
    write_latent_file(tmp_path / "a.npz", unscale_latents(scaled, CONFIG), scaled=False)
    file = read_latent_file(tmp_path / "a.npz")
    assert bits(VAE.decode(file.latents, **file.options)) == bits(want)
    rows = list(VAE.stream(file.latents, **file.options))
    assert bits(mx.concatenate(rows, axis=1)) == bits(want)
    VAE.decode_to_file(file.latents, tmp_path / "a.npy", **file.options)
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.asarray(want)[0])
    assert bits(VAE.decode(file.latents)) != bits(want)
