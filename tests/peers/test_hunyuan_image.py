"""Decode and encode by HunyuanImage 2.1's VAE beside diffusers, live, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zvae_tiled import VAE

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""


@pytest.mark.parametrize(("height", "width", "batch"), [(4, 4, 1), (3, 5, 2), (2, 3, 1)])
@pytest.mark.parametrize(
    ("widths", "more"),
    [((32, 64, 64), {"scaling_factor": 0.7}), ((64, 32, 128, 128), {"layers_per_block": 1}), ((32,), {})],
    ids=str,
)
def test_it_equals_diffusers(
    widths: tuple[int, ...], more: dict[str, Any], height: int, width: int, batch: int, tmp_path: Path
) -> None:
    import diffusers
    import torch

    scale = 2 ** (len(widths) - 1)
    fields = {"layers_per_block": 2, "spatial_compression_ratio": scale, "sample_size": 64, "scaling_factor": 0.75289}
    seed = torch.Generator().manual_seed(0)
    theirs = diffusers.AutoencoderKLHunyuanImage(3, 3, 8, widths, **{**fields, **more}).eval()
    with torch.no_grad():
        for values in theirs.parameters():
            noise = torch.randn(values.shape, generator=seed)
            values.copy_(noise * values[0].numel() ** -0.5 if values.ndim > 1 else values + 0.1 * noise)
    theirs.save_pretrained(tmp_path)
    ours, factor = VAE.load(tmp_path, dtype="float32", decoder_only=False), theirs.config.scaling_factor
    latents = torch.randn((batch, 8, height, width), generator=seed)
    images = torch.rand((batch, 3, height * scale, width * scale), generator=seed)
    theirs = theirs.double()
    with torch.no_grad():
        want = theirs.decode(latents.double() / factor).sample.permute(0, 2, 3, 1).numpy()
        mean = (theirs.encode(images.double() * 2 - 1).latent_dist.mode() * factor).numpy()
    assert abs(ours.decode(latents, "np", raw=True) - want).max() < TOLERANCE * want.std()
    found = np.asarray(ours.encode(images.permute(0, 2, 3, 1).contiguous()).mode())
    assert abs(found - mean).max() < TOLERANCE * mean.std()
