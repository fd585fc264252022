"""Decode and encode by SANA's VAE beside diffusers, live, with the same weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zvae_tiled import VAE

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""

TYPES = ("ResBlock", "EfficientViTBlock", "EfficientViTBlock")
FORMS: list[dict[str, Any]] = [
    {"qkv_multiscales": ((), (5,), (5,)), "layers_per_block": (1, 2, 1), "block_out_channels": (16, 32, 32)},
    {"qkv_multiscales": ((), (), (3,)), "layers_per_block": (2, 1, 1), "block_out_channels": (8, 16, 32)},
]


@pytest.mark.parametrize(("height", "width", "batch"), [(5, 4, 1), (2, 3, 2)])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_it_equals_diffusers(form: dict[str, Any], height: int, width: int, batch: int, tmp_path: Path) -> None:
    import diffusers
    import torch

    from zvae_tiled.adapters.diffusers import use

    both = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in form.items()}
    types = {f"{half}_block_types": TYPES for half in ("encoder", "decoder")}
    seed = torch.Generator().manual_seed(0)
    theirs = diffusers.AutoencoderDC(
        latent_channels=8,
        attention_head_dim=8,
        upsample_block_type="interpolate",
        downsample_block_type="Conv",
        scaling_factor=0.41407,
        **both,
        **types,
    ).eval()
    with torch.no_grad():
        for values in theirs.parameters():
            noise = torch.randn(values.shape, generator=seed)
            values.copy_(noise * values[0].numel() ** -0.5 if values.ndim > 1 else values + 0.1 * noise)
    theirs.save_pretrained(tmp_path)
    ours, factor = VAE.load(tmp_path, dtype="float32", decoder_only=False), theirs.config.scaling_factor
    latents = torch.randn((batch, 8, height, width), generator=seed)
    images = torch.rand((batch, 3, height * 4, width * 4), generator=seed)
    theirs = theirs.double()
    with torch.no_grad():
        want = theirs.decode(latents.double() / factor).sample.permute(0, 2, 3, 1).numpy()
        mean = (theirs.encode(images.double() * 2 - 1).latent * factor).numpy()
    assert abs(ours.decode(latents, "np", raw=True) - want).max() < TOLERANCE * want.std()
    found = np.asarray(ours.encode(images.permute(0, 2, 3, 1).contiguous()).mode())
    assert abs(found - mean).max() < TOLERANCE * mean.std()
    pipe = SimpleNamespace(vae=theirs.float())
    use(pipe, "1GB")
    own = pipe.vae.encode(images * 2 - 1).latent.numpy() * factor
    assert abs(own - mean).max() < TOLERANCE * mean.std()
    assert abs(pipe.vae.decode(latents / factor, return_dict=False)[0].permute(0, 2, 3, 1).numpy() - want).max() < (
        TOLERANCE * want.std()
    )
