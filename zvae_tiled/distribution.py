"""`LatentDistribution`, what an encode gives; and scale and shift between a pipeline's latents and the decoder's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx

from zvae_tiled.config import VAEConfig


@dataclass(frozen=True)
class LatentDistribution:
    """A diagonal Gaussian over latents as a pipeline wants them: shifted and scaled, NHWC.

    Attributes:
        mean: The centre, (B, h, w, latent_channels).
        logvar: The logarithm of the variance, of the same shape.
    """

    mean: mx.array
    logvar: mx.array

    @classmethod
    def from_moments(cls, moments: mx.array, config: VAEConfig) -> LatentDistribution:
        """Split the encoder's output, and apply shift and scale."""
        mean, logvar = mx.split(moments, 2, axis=-1)
        logvar = mx.clip(logvar, -30.0, 20.0)  # the bounds the VAEs were trained with
        return cls(scale_latents(mean, config), logvar + 2 * math.log(config.scaling_factor))

    def mode(self) -> mx.array:
        """Return the most likely latents."""
        return self.mean

    def sample(self, key: mx.array | None = None) -> mx.array:
        """Draw latents; the same ``mx.random.key`` gives the same ones."""
        noise = mx.random.normal(self.mean.shape, dtype=self.mean.dtype, key=key)
        return self.mean + mx.exp(0.5 * self.logvar) * noise


def scale_latents(latents: mx.array, config: VAEConfig) -> mx.array:
    """Make encoder latents into a pipeline's, in their own type."""
    return _rounded(_rounded(latents, "subtract", config.shift_factor or 0.0), "multiply", config.scaling_factor)


def unscale_latents(latents: mx.array, config: VAEConfig) -> mx.array:
    """Make a pipeline's latents into the decoder's, in their own type."""
    return _rounded(_rounded(latents, "divide", config.scaling_factor), "add", config.shift_factor or 0.0)


def _rounded(x: mx.array, operation: str, scalar: float) -> mx.array:
    # A scalar rounded to bfloat16 first would be off by up to 0.4 %; torch too computes in float32 and rounds once.
    result: mx.array = getattr(mx, operation)(x.astype(mx.float32), scalar)
    return result.astype(x.dtype)
