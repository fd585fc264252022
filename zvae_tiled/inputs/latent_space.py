"""Converts between a pipeline's latents and the VAE's. Defines `LatentDistribution`, the result of an encode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx

from zvae_tiled.checks import shown
from zvae_tiled.devices.evaluated import evaluate
from zvae_tiled.errors import InputError
from zvae_tiled.families import LatentConvention

Weights = Mapping[str, mx.array]


@dataclass(frozen=True)
class LatentDistribution:
    """A diagonal Gaussian over a pipeline's latents: NCHW, normalised, and packed if the family packs.

    Attributes:
        mean: The mean, (B, C, h, w).
        logvar: The logarithm of the variance, of the same shape.
    """

    mean: mx.array
    logvar: mx.array

    @classmethod
    def from_moments(cls, moments: mx.array, convention: LatentConvention, weights: Weights) -> LatentDistribution:
        """Split the encoder's output into mean and log-variance, and convert both to a pipeline's latents."""
        patch, order = convention.patch, convention.order
        if convention.deterministic:  # a variance of 0, of which one number is held
            scaled = scale_latents(packed(moments, patch, order), convention, weights)
            mean = mx.contiguous(mx.moveaxis(scaled, -1, 1))
            return cls(mean, mx.broadcast_to(mx.array(-mx.inf, dtype=mean.dtype), mean.shape))
        mean, logvar = (packed(half, patch, order) for half in mx.split(moments, 2, axis=-1))
        logvar = mx.clip(logvar, -30.0, 20.0)  # the bounds the VAEs were trained with
        normal = scale_latents(mean, convention, weights)
        _, scale = _shift_and_scale(convention, weights)
        spread = (logvar.astype(mx.float32) + 2 * mx.log(scale)).astype(logvar.dtype)
        halves = (unpacked(half, patch, order) if convention.spread else half for half in (normal, spread))
        return cls(*(mx.contiguous(mx.moveaxis(half, -1, 1)) for half in halves))

    def mode(self) -> mx.array:
        """Return the most likely latents."""
        return self.mean

    def sample(self, key: mx.array | None = None) -> mx.array:
        """Draw latents. The same ``mx.random.key`` draws the same latents.

        Raises:
            InputError: `key` is no key.
        """
        if key is not None and not (isinstance(key, mx.array) and key.dtype == mx.uint32 and key.shape == (2,)):
            raise InputError(f"key must be made by mx.random.key, it is {shown(key)}", "Pass mx.random.key(0).")
        noise = mx.random.normal(self.mean.shape, dtype=self.mean.dtype, key=key)
        return self.mean + mx.exp(0.5 * self.logvar) * noise


def scale_latents(latents: mx.array, convention: LatentConvention, weights: Weights) -> mx.array:
    """Convert the VAE's latents (B, h, w, channels), packed if the convention packs, to a pipeline's."""
    if not (convention.mean or convention.statistics) and (convention.shift, convention.scaling) == (0, 1):
        return latents  # without a copy
    shift, scale = _shift_and_scale(convention, weights)
    return _rounded(_rounded(latents, mx.subtract, shift), mx.multiply, scale)


def unscale_latents(latents: mx.array, convention: LatentConvention, weights: Weights) -> mx.array:
    """Convert a pipeline's latents (B, h, w, channels) to the decoder's. The type does not change."""
    shift, scale = _shift_and_scale(convention, weights)
    own = _rounded(_rounded(latents, mx.divide, scale), mx.add, shift)
    ready = unpacked(own, convention.patch, convention.order)
    evaluate(ready)
    return ready


def unpacked(latents: mx.array, patch: int, order: str = "cyx") -> mx.array:
    """Return the map in which each pixel of `latents` has become a patch of `patch` x `patch` pixels."""
    if patch == 1:
        return latents
    batch, height, width, channels = latents.shape
    if order == "yxc":
        cells = latents.reshape(batch, height, width, patch, patch, channels // patch**2).transpose(0, 1, 3, 2, 4, 5)
    else:
        cells = latents.reshape(batch, height, width, channels // patch**2, patch, patch).transpose(0, 1, 4, 2, 5, 3)
    return cells.reshape(batch, height * patch, width * patch, channels // patch**2)


def packed(latents: mx.array, patch: int, order: str = "cyx") -> mx.array:
    """Return the map in which each patch of `patch` x `patch` pixels of `latents` has become one pixel."""
    if patch == 1:
        return latents
    batch, height, width, channels = latents.shape
    cells = latents.reshape(batch, height // patch, patch, width // patch, patch, channels)
    axes = (0, 1, 3, 2, 4, 5) if order == "yxc" else (0, 1, 3, 5, 2, 4)
    return cells.transpose(*axes).reshape(batch, height // patch, width // patch, channels * patch**2)


def _shift_and_scale(convention: LatentConvention, weights: Weights) -> tuple[mx.array, mx.array]:
    """Return the shift to subtract from the VAE's latents and the scale to multiply them by, in float32."""
    if convention.mean:
        return mx.array(convention.mean), mx.array([convention.scaling / std for std in convention.std])
    if convention.statistics is None:
        return mx.array(convention.shift), mx.array(convention.scaling)
    stored = convention.statistics
    variance = weights[stored.variance].astype(mx.float32) + stored.eps
    return weights[stored.mean].astype(mx.float32), mx.rsqrt(variance)


def _rounded(x: mx.array, operation: object, number: mx.array) -> mx.array:
    # Rounding the number to bfloat16 first would change it by up to 0.4 %. Like torch, compute in float32, round once.
    wide: mx.array = operation(x.astype(mx.float32), number)  # type: ignore[operator]
    evaluate(wide)  # frees its inputs before the next copy is made: large latents are most of a large decode
    result = wide.astype(x.dtype)
    evaluate(result)
    return result
