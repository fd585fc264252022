"""Qwen-Image's and Wan 2.1's decode and encode of one frame beside diffusers, live, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zvae_tiled import VAE

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""


@pytest.mark.parametrize(("height", "width", "batch"), [(4, 4, 1), (3, 5, 2), (1, 1, 1)])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("AutoencoderKLQwenImage", {}),
        ("AutoencoderKLQwenImage", {"input_channels": 4}),
        ("AutoencoderKLWan", {"decoder_base_dim": 6}),
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
    latents = torch.randn((batch, 16, height, width), generator=seed)
    images = torch.rand((batch, ours.config.in_channels, height * 8, width * 8), generator=seed)
    with torch.no_grad():
        want = decoded(theirs, latents).permute(0, 2, 3, 1).numpy()
        mean = encoded(theirs, images).numpy()
    for given in (latents, latents[:, :, None]):  # with an axis for one frame, too
        got = ours.decode(given, output_type="np", raw=True)
        assert abs(got - want).max() < TOLERANCE * want.std()
    found = np.asarray(ours.encode(images.permute(0, 2, 3, 1).contiguous()).mode())
    assert abs(found - mean).max() < TOLERANCE * mean.std()
