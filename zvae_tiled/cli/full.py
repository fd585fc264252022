"""The full decode by the reference, on whole maps. Decodes are compared with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlx.core as mx

from zvae_tiled.chain.whole import run_whole
from zvae_tiled.jobs.decode import finished, ready_latents

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


def full_decode(vae: VAE, latents: mx.array, scaled: bool = True) -> mx.array:
    """Decode a pipeline's latents (B, h, w, C) at once, without a budget."""
    ready = ready_latents(latents, vae.config, vae.weights, vae.dtype, scaled)
    return finished(run_whole(vae.config.chain("decode"), vae.weights, ready), False, vae.config)
