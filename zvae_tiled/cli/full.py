"""The full decode by the reference: what others do, and what decodes are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlx.core as mx

from zvae_tiled.chain import decoder_chain
from zvae_tiled.decoding import finished
from zvae_tiled.distribution import unscale_latents
from zvae_tiled.reference import run_whole

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


def full_decode(vae: VAE, latents: mx.array, scaled: bool = True) -> mx.array:
    """Decode latents (B, h, w, C) at once; no budget holds."""
    ready = unscale_latents(latents, vae.config) if scaled else latents
    return finished(run_whole(decoder_chain(vae.config), vae.weights, ready.astype(vae.dtype)), raw=False)
