"""Videos by Wan 2.1 and Qwen-Image beside diffusers, live, with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zvae_tiled import VAE

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the video."""


@pytest.mark.parametrize(
    ("name", "fields", "frames"),
    [
        *(("AutoencoderKLWan", {}, frames) for frames in (1, 5, 17)),
        ("AutoencoderKLWan", {"decoder_base_dim": 6, "temperal_downsample": [True, False, True]}, 9),
        *(("AutoencoderKLQwenImage", {}, frames) for frames in (1, 17)),
        ("AutoencoderKLQwenImage", {"input_channels": 4}, 5),
    ],
    ids=str,
)
def test_videos(name: str, fields: dict[str, Any], frames: int, tmp_path: Path) -> None:
    import torch

    from tests.data.make_golden_qwen import random_qwen, statistics

    theirs = random_qwen(name, **fields)
    theirs.save_pretrained(tmp_path)
    ours = VAE.load(tmp_path, dtype="float32", video=True)
    latents = torch.randn((1, 16, 1 + (frames - 1) // 4, 2, 3), generator=torch.Generator().manual_seed(0))
    mean, std = (each[:, None] for each in statistics(theirs, latents.double()))
    with torch.no_grad():
        found = theirs.double().decode(latents.double() * std + mean).sample
    want = (found / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 3, 0).numpy()
    got = np.stack([np.asarray(frame) for frame in ours.video(latents).frames()])
    assert got.shape == want.shape == (frames, 16, 24, ours.config.picture_channels)
    assert abs(got - want).max() < TOLERANCE * want.std()
