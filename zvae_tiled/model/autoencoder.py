"""Encoder and decoder with the 1×1 convolutions between them, and the distribution the encoder gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mlx.core as mx
from mlx import nn

from zvae_tiled.config import VAEConfig
from zvae_tiled.model.decoder import Decoder
from zvae_tiled.model.encoder import Encoder


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
    result = getattr(mx, operation)(x.astype(mx.float32), scalar)
    return result.astype(x.dtype)


class DecoderOnly(nn.Module):
    """What a decode needs and nothing more."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config)
        if config.use_post_quant_conv:
            self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, kernel_size=1)

    def decode(self, latents: mx.array) -> mx.array:
        """Decode latents whose scale and shift are undone; the result is the decoder's own, about [-1, 1]."""
        if "post_quant_conv" in self:
            latents = self.post_quant_conv(latents)
        return self.decoder(latents)


class AutoencoderKL(DecoderOnly):
    """Encoder and decoder."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        self.encoder = Encoder(config)
        if config.use_quant_conv:
            channels = 2 * config.latent_channels
            self.quant_conv = nn.Conv2d(channels, channels, kernel_size=1)

    def encode(self, images: mx.array) -> mx.array:
        """Return mean and log-variance, one after the other in the channels, of pictures in [-1, 1]."""
        moments = self.encoder(images)
        if "quant_conv" in self:
            moments = self.quant_conv(moments)
        return moments
