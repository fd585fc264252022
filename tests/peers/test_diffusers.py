"""Decode and encode beside diffusers, live, with the same weights."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from tests.support.models import narrow, random_latents, random_vae
from zvae_tiled import VAE
from zvae_tiled.families.autoencoder_kl import PRESETS, AutoencoderKLConfig

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""


def check(config: AutoencoderKLConfig, height: int, width: int, batch: int, folder: Path) -> None:
    import torch

    from tests.peers.diffusers_model import random_diffusers_vae, shift_and_scale, unscaled

    theirs = random_diffusers_vae(config)
    theirs.save_pretrained(folder)
    ours = VAE.load(folder, dtype="float32", decoder_only=False)
    latents = torch.from_numpy(random_latents(config, height, width, batch))
    images = torch.rand(
        (batch, 3, height * config.scale, width * config.scale), generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        want = theirs.decode(unscaled(latents, config)).sample
        posterior = theirs.encode(images * 2 - 1).latent_dist
    decoded = ours.decode(latents, output_type="torch", raw=True).permute(0, 3, 1, 2)
    assert (decoded - want).abs().max() < TOLERANCE * want.std()
    shift, scale = shift_and_scale(config)
    encoded = ours.encode(images.permute(0, 2, 3, 1).contiguous())
    pairs = (
        (encoded.mean, (posterior.mean - shift) * scale),
        (encoded.logvar, posterior.logvar + 2 * scale.log()),
    )
    for got, wanted in pairs:
        assert (torch.from_dlpack(got) - wanted).abs().max() < TOLERANCE * wanted.std()


@pytest.mark.parametrize(("height", "width", "batch"), [(8, 8, 1), (5, 9, 2), (17, 3, 1), (1, 1, 3)])
@pytest.mark.parametrize("preset", PRESETS)
def test_narrow_models(preset: str, height: int, width: int, batch: int, tmp_path: Path) -> None:
    check(narrow(preset), height, width, batch, tmp_path)


def test_z_image_at_full_width(tmp_path: Path) -> None:
    check(PRESETS["z-image"], 6, 9, 1, tmp_path)


def test_torch_latents_of_every_type() -> None:
    import torch

    config = narrow("flux1")
    vae = random_vae(config)
    latents = random_latents(config, 3, 5)
    for kind, same in (
        (torch.float32, mx.float32),
        (torch.bfloat16, mx.bfloat16),
        (torch.float16, mx.float16),
    ):
        want = vae.decode(mx.array(latents).astype(same), output_type="np")
        assert np.array_equal(vae.decode(torch.from_numpy(latents).to(kind), output_type="np"), want)
    gradients = torch.from_numpy(latents).requires_grad_()
    assert np.array_equal(vae.decode(gradients, output_type="np"), vae.decode(latents, output_type="np"))
