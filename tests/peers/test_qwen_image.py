"""Decode and encode of one frame by Qwen-Image's VAEs and Wan's beside diffusers, live, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zvae_tiled import VAE
from zvae_tiled.families.wan import MEAN_2_2, STD_2_2

pytestmark = pytest.mark.peers

WAN_2_2 = {
    "z_dim": 48,
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "scale_factor_spatial": 16,
    "latents_mean": list(MEAN_2_2),
    "latents_std": list(STD_2_2),
}
TWO = {"dim_mult": [2, 4, 4], "decoder_base_dim": None, "num_res_blocks": 3, "scale_factor_spatial": 4}

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""


@pytest.mark.parametrize(("height", "width", "batch"), [(4, 4, 1), (3, 5, 2), (1, 1, 1)])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("AutoencoderKLQwenImage", {}),
        ("AutoencoderKLQwenImage", {"input_channels": 4}),
        ("AutoencoderKLWan", {"decoder_base_dim": 6}),
        ("AutoencoderKLQwenImage21", {"decoder_base_dim": 6}),
        ("AutoencoderKLQwenImage21", {**TWO, "temperal_downsample": [True, False], "in_channels": 3}),
        ("AutoencoderKLWan", {**WAN_2_2, "decoder_base_dim": 6}),
        ("AutoencoderKLWan", {**WAN_2_2, "dim_mult": [1, 2, 2], "temperal_downsample": [False, True]}),
    ],
    ids=str,
)
def test_one_frame(name: str, fields: dict[str, Any], height: int, width: int, batch: int, tmp_path: Path) -> None:
    import torch

    from tests.data.make_golden_qwen import decoded, encoded, random_qwen

    theirs = random_qwen(name, **fields)
    theirs.save_pretrained(tmp_path)
    ours = VAE.load(tmp_path, dtype="float32", decoder_only=False)
    seed = torch.Generator().manual_seed(0)
    config, scale = ours.config, ours.config.scale
    latents = torch.randn((batch, config.latent_channels, height, width), generator=seed)
    images = torch.rand((batch, config.image_channels, height * scale, width * scale), generator=seed)
    with torch.no_grad():
        want = decoded(theirs, latents).permute(0, 2, 3, 1).numpy()
        mean = encoded(theirs, images).numpy()
    for given in (latents, latents[:, :, None]):  # with an axis for one frame, too
        got = ours.decode(given, output_type="np", raw=True)
        assert abs(got - want).max() < TOLERANCE * want.std()
    found = np.asarray(ours.encode(images.permute(0, 2, 3, 1).contiguous()).mode())
    assert abs(found - mean).max() < TOLERANCE * mean.std()
