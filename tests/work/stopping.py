"""A small decode with a work folder, which can be interrupted."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.support.models import random_latents, random_vae
from tests.support.plans import plan_for
from zvae_tiled import VAE
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.report.progress import Progress

CONFIG = AutoencoderKLConfig(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=2)
MODEL, LATENTS = random_vae(CONFIG), random_latents(CONFIG, 16, 5)
LOW: dict[str, Any] = {"plan": plan_for(MODEL, LATENTS.shape, Random(1), ("disk",)), "budget": None}
"""A plan with low bands."""


def stopped(folder: Path, bands: int = 14, vae: VAE = MODEL, latents: Any = LATENTS, **options: Any) -> None:
    """Begin a decode, and interrupt it."""
    left = [bands]

    def listener(progress: Progress) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(folder, vae, latents, progress=listener, **options)


def decode(folder: Path, vae: VAE = MODEL, latents: Any = LATENTS, name: str = "a.npy", **options: Any) -> np.ndarray:
    vae.decode_to_file(latents, folder / name, **{"budget": "1GB", "work": folder / "work", **options})
    return np.asarray(np.load(folder / name))


def written(folder: Path) -> dict[str, bytes]:
    """The pictures, which are removed."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name in found:
        (folder / name).unlink()
    return found
