"""Small random pictures for decodes in tiles, and the measures that compare them."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from tests.support.models import random_latents, random_vae
from tests.support.plans import random_config
from zvae_tiled import VAE, VAEConfig
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.grid import RAMPS as CURVES

RAMPS = tuple(sorted(CURVES))


def reach_of(config: VAEConfig) -> int:
    """Return the decoder's reach, in latents."""
    chain = config.chain("decode")
    return chain.reach(chain.middle)


def small_config(rng: Random, longest: int = 48) -> AutoencoderKLConfig:
    """A random decoder with a short reach, so that several tiles are cheap."""
    while True:
        config = random_config(rng, narrowest=2)
        if reach_of(config) * config.scale <= longest:
            return config


def decoded(vae: VAE, latents: np.ndarray, **options: Any) -> tuple[np.ndarray, Any]:
    """Return the decoder's own values and the report."""
    picture, report = vae.decode(latents, output_type="np", raw=True, return_report=True, **options)
    return picture, report


def random_case(rng: Random, config: VAEConfig, height: int, width: int) -> tuple[VAE, np.ndarray]:
    """A VAE and latents."""
    seed = rng.randrange(1 << 16)
    return random_vae(config, "float32", seed), random_latents(config, height, width, 1, seed)


def relative(picture: np.ndarray, reference: np.ndarray) -> float:
    """The largest error as a share of the reference's spread."""
    return float(np.abs(picture - reference).max() / max(reference.std(), 1e-6))
