"""AutoencoderTiny's decode and encode beside diffusers, live, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zvae_tiled import VAE

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(("height", "width", "batch"), [(4, 4, 1), (3, 5, 2), (1, 1, 1)])
@pytest.mark.parametrize("fields", [{}, {"latent_channels": 16}, {"num_decoder_blocks": (1, 2, 1, 3)}], ids=str)
def test_it_equals_diffusers(fields: dict[str, Any], height: int, width: int, batch: int, tmp_path: Path) -> None:
    import torch

    from tests.data.make_golden_tiny import random_tiny

    theirs = random_tiny(**fields)
    theirs.save_pretrained(tmp_path)
    ours = VAE.load(tmp_path, dtype="float32", decoder_only=False)
    seed = torch.Generator().manual_seed(0)
    latents = torch.randn((batch, ours.config.latent_channels, height, width), generator=seed)
    images = torch.rand((batch, 3, height * 8, width * 8), generator=seed)
    with torch.no_grad():
        want = theirs.decode(latents).sample.permute(0, 2, 3, 1).numpy()
        mean = theirs.encode(images * 2 - 1).latents.numpy()
    assert abs(ours.decode(latents, output_type="np", raw=True) - want).max() < 1e-4 * want.std()
    found = np.asarray(ours.encode(images.permute(0, 2, 3, 1).contiguous()).mode())
    assert abs(found - mean).max() < 1e-4 * mean.std()
