"""From a file to a picture: packed or not, scaled or not, the same picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.models import FLUX2, pack, random_latents, random_vae
from tests.support.plans import bits
from zvae_tiled import Latents, read_latent_file, write_latent_file
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.inputs.latents import Layout

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 4), norm_num_groups=2, scaling_factor=0.3611, shift_factor=0.1159)
VAE = random_vae(CONFIG)
LATENTS = random_latents(CONFIG, 6, 8)
WANT = bits(VAE.decode(LATENTS))


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_packed_tokens_know_their_picture(kind: str, tmp_path: Path) -> None:
    write_latent_file(tmp_path / f"a.{kind}", Latents(pack(LATENTS), height=12, width=16))
    assert bits(VAE.decode(read_latent_file(tmp_path / f"a.{kind}"))) == WANT


def test_a_height_and_a_width_beside_three_axes_mean_packed_tokens(tmp_path: Path) -> None:
    """In a file of another program."""
    save_file({"latents": pack(LATENTS)}, tmp_path / "a.safetensors", {"height": "12", "width": "16"})
    assert bits(VAE.decode(read_latent_file(tmp_path / "a.safetensors"))) == WANT


@pytest.mark.parametrize(
    "said", [{}, {"height": "12", "width": "16"}, {"height": "12", "width": "16", "packed": "false"}]
)
def test_latents_that_are_not_packed_may_know_it_too(said: dict[str, str], tmp_path: Path) -> None:
    for latents, layout in ((LATENTS, {}), (LATENTS.transpose(0, 2, 3, 1), {"layout": "NHWC"})):
        save_file({"latents": np.ascontiguousarray(latents)}, tmp_path / "a.safetensors", {**said, **layout})
        assert bits(VAE.decode(read_latent_file(tmp_path / "a.safetensors"))) == WANT


@pytest.mark.parametrize("layout", [None, "NCHW", "NHWC"])
def test_the_layout_comes_back(layout: Layout | None, tmp_path: Path) -> None:
    latents = LATENTS.transpose(0, 2, 3, 1) if layout == "NHWC" else LATENTS
    write_latent_file(tmp_path / "a.npz", Latents(latents, layout))
    assert bits(VAE.decode(read_latent_file(tmp_path / "a.npz"))) == WANT


@pytest.mark.parametrize("frames", [False, True])
def test_comfyuis_latents_are_nchw_whatever_their_shape(frames: bool, tmp_path: Path) -> None:
    channels = CONFIG.latent_channels
    latents = np.random.default_rng(0).standard_normal((1, channels, 6, channels)).astype(np.float32)
    tensors: dict[str, Any] = {
        "latent_tensor": latents[:, :, None] if frames else latents,
        "latent_format_version_0": np.zeros(0),
    }
    save_file(tensors, tmp_path / "a.latent")
    want = bits(VAE.decode(Latents(latents, scaled=False)))
    assert bits(VAE.decode(read_latent_file(tmp_path / "a.latent"))) == want
    assert want != bits(VAE.decode(latents))


def test_comfyuis_latents_of_flux2_are_still_normalised(tmp_path: Path) -> None:
    vae = random_vae(replace(FLUX2, latent_channels=32))  # its packed channels are published: by them it is known
    latents = np.random.default_rng(0).standard_normal((1, 128, 2, 3)).astype(np.float32)
    save_file({"latent_tensor": latents, "latent_format_version_0": np.zeros(0)}, tmp_path / "a.latent")
    assert bits(vae.decode(read_latent_file(tmp_path / "a.latent"))) == bits(vae.decode(latents))
    assert bits(vae.decode(Latents(latents, scaled=False))) != bits(vae.decode(latents))


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_unscaled_latents_go_to_the_decoder_as_they_are(dtype: mx.Dtype, tmp_path: Path) -> None:
    scaled = mx.array(LATENTS).astype(dtype)
    want = VAE.decode(scaled)
    unscaled = unscale_latents(scaled.transpose(0, 2, 3, 1), CONFIG.latents, VAE.weights)
    write_latent_file(tmp_path / "a.npz", Latents(unscaled, "NHWC", scaled=False))
    latents = read_latent_file(tmp_path / "a.npz")
    assert bits(VAE.decode(latents)) == bits(want)
    assert bits(mx.concatenate(list(VAE.stream(latents)), axis=1)) == bits(want)
    VAE.decode_to_file(latents, tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.asarray(want)[0])
    assert bits(VAE.decode(replace(latents, scaled=True))) != bits(want)
