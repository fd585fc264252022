"""FLUX.2's decode and encode beside diffusers, live, with the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.models import FLUX2
from zvae_tiled import VAE
from zvae_tiled.families.flux2 import Flux2Config

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""

SMALL_DECODER = replace(FLUX2, norm_num_groups=2, decoder_block_out_channels=(6, 6, 12, 12))
"""As FLUX.2's small decoder: groups of 3 channels."""


@pytest.mark.parametrize(("height", "width", "batch"), [(4, 4, 1), (3, 5, 2), (1, 1, 1)])
@pytest.mark.parametrize("config", [FLUX2, SMALL_DECODER], ids=["flux2", "small decoder"])
def test_packed_maps(config: Flux2Config, height: int, width: int, batch: int, tmp_path: Path) -> None:
    import torch

    from tests.data.make_golden_flux2 import decoded, encoded, random_flux2

    theirs = random_flux2(config)
    theirs.save_pretrained(tmp_path)
    ours = VAE.load(tmp_path, dtype="float32", decoder_only=False)
    assert ours.config == config
    seed = torch.Generator().manual_seed(0)
    packed = torch.randn((batch, config.latents.channels, height, width), generator=seed)
    images = torch.rand((batch, 3, height * config.cell, width * config.cell), generator=seed)
    with torch.no_grad():
        want = decoded(theirs, packed).permute(0, 2, 3, 1).numpy()
        mean = encoded(theirs, images).numpy()
    got = ours.decode(packed, output_type="np", raw=True)
    assert abs(got - want).max() < TOLERANCE * want.std()
    found = np.asarray(ours.encode(images.permute(0, 2, 3, 1).contiguous()).mode())
    assert abs(found - mean).max() < TOLERANCE * mean.std()
