"""The full decode by the plain model: what others do, and what decodes are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlx.core as mx

from zvae_tiled.decoding import finished
from zvae_tiled.model.autoencoder import unscale_latents

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE


def full_decode(vae: VAE, latents: mx.array, scaled: bool = True) -> mx.array:
    """Decode latents (B, h, w, C) at once; no budget holds."""
    ready = unscale_latents(latents, vae.config) if scaled else latents
    return finished(vae.model.decode(ready.astype(vae.dtype)), raw=False)
