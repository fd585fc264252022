"""Decoder and encoder in float64, in plain NumPy: the judge of all others.

Written from the paper and the checkpoint's names. The network shares no line with the package; only a pipeline's
latents are unscaled by it. One picture at a time, (height, width, channels).
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from zvae_tiled import VAE
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.inputs.latent_space import unscale_latents

Array = np.ndarray
Weights = dict[str, Array]
Network = AutoencoderKLConfig | Flux2Config


def ready_latents(vae: VAE, latents: Array) -> mx.array:
    """A pipeline's NCHW latents as the decoder reads them: NHWC, unscaled, and rounded to its type."""
    return unscale_latents(mx.array(latents.transpose(0, 2, 3, 1)), vae.config.latents, vae.weights).astype(vae.dtype)


def widened(array: mx.array) -> Array:
    """The array's numbers in float64."""
    return np.asarray(array.astype(mx.float32)).astype(np.float64)


def _network(vae: VAE) -> Network:
    """The config, which must be of a family whose network is AutoencoderKL's."""
    assert isinstance(vae.config, Network)
    return vae.config


def decode64(vae: VAE, latents: Array) -> Array:
    """Decode NCHW latents into (B, H, W, C), starting from weights and latents as this VAE's type holds them."""
    weights = {name: widened(array) for name, array in vae.weights.items()}
    return np.stack([_decode(_network(vae), weights, picture) for picture in widened(ready_latents(vae, latents))])


def ready_images(vae: VAE, images: Array) -> mx.array:
    """Pictures in [0, 1] as the encoder reads them: in [-1, 1] but for some, and rounded to its type."""
    return (mx.array(images) if vae.config.unit else mx.array(images) * 2 - 1).astype(vae.dtype)


def encode64(vae: VAE, images: Array) -> Array:
    """Encode NHWC pictures into mean and log-variance, (B, h, w, 2·channels), neither shifted nor scaled."""
    weights = {name: widened(array) for name, array in vae.weights.items()}
    return np.stack([_encode(_network(vae), weights, picture) for picture in widened(ready_images(vae, images))])


def distribution64(vae: VAE, moments: Array) -> tuple[Array, Array]:
    """Mean and log-variance of a pipeline's latents, NCHW: the result of `encode64`, packed, shifted and scaled."""
    convention = vae.config.latents
    shift, scale = np.array(convention.shift), np.array(convention.scaling)
    if convention.mean:
        shift, scale = np.array(convention.mean), convention.scaling / np.array(convention.std)
    if convention.statistics is not None:
        stored = convention.statistics
        shift = widened(vae.weights[stored.mean])
        scale = 1 / np.sqrt(widened(vae.weights[stored.variance]) + stored.eps)
    mean, logvar = (_packed(half, convention.patch) for half in np.split(moments, 2, axis=-1))
    normal, spread = (mean - shift) * scale, np.clip(logvar, -30, 20) + 2 * np.log(scale)
    return normal.transpose(0, 3, 1, 2), spread.transpose(0, 3, 1, 2)


def _packed(x: Array, patch: int) -> Array:
    """Pack squares of pixels into one pixel: channel c at row dy and column dx becomes channel (c, dy, dx)."""
    squares = [x[:, down::patch, right::patch] for down in range(patch) for right in range(patch)]
    return np.stack(squares, axis=-1).reshape(*squares[0].shape[:3], -1)


def _encode(config: Network, weights: Weights, x: Array) -> Array:
    groups = config.norm_num_groups
    x = convolve(weights, "encoder.conv_in", x)
    levels = len(config.block_out_channels)
    for level in range(levels):
        name = f"encoder.down_blocks.{level}"
        for layer in range(config.layers_per_block):
            x = _resnet(weights, f"{name}.resnets.{layer}", x, groups)
        if level < levels - 1:  # padded after the last row and column alone, and every second result kept
            x = convolve(weights, f"{name}.downsamplers.0.conv", x)[1::2, 1::2]
    x = _mid_block(config, weights, "encoder.mid_block", x)
    x = convolve(weights, "encoder.conv_out", silu(group_norm(weights, "encoder.conv_norm_out", x, groups)))
    return convolve(weights, "quant_conv", x) if config.use_quant_conv else x


def _decode(config: Network, weights: Weights, x: Array) -> Array:
    groups = config.norm_num_groups
    if config.use_post_quant_conv:
        x = convolve(weights, "post_quant_conv", x)
    x = convolve(weights, "decoder.conv_in", x)
    x = _mid_block(config, weights, "decoder.mid_block", x)
    levels = len(config.block_out_channels)
    for level in range(levels):
        name = f"decoder.up_blocks.{level}"
        for layer in range(config.layers_per_block + 1):
            x = _resnet(weights, f"{name}.resnets.{layer}", x, groups)
        if level < levels - 1:
            x = convolve(weights, f"{name}.upsamplers.0.conv", x.repeat(2, axis=0).repeat(2, axis=1))
    return convolve(weights, "decoder.conv_out", silu(group_norm(weights, "decoder.conv_norm_out", x, groups)))


def _mid_block(config: Network, weights: Weights, name: str, x: Array) -> Array:
    x = _resnet(weights, f"{name}.resnets.0", x, config.norm_num_groups)
    if config.mid_block_add_attention:
        x = _attention(weights, f"{name}.attentions.0", x, config.norm_num_groups)
    return _resnet(weights, f"{name}.resnets.1", x, config.norm_num_groups)


def _resnet(weights: Weights, name: str, x: Array, groups: int) -> Array:
    h = convolve(weights, f"{name}.conv1", silu(group_norm(weights, f"{name}.norm1", x, groups)))
    h = convolve(weights, f"{name}.conv2", silu(group_norm(weights, f"{name}.norm2", h, groups)))
    if f"{name}.conv_shortcut.weight" in weights:
        x = convolve(weights, f"{name}.conv_shortcut", x)
    return np.asarray(x + h)


def _attention(weights: Weights, name: str, x: Array, groups: int) -> Array:
    tokens = group_norm(weights, f"{name}.group_norm", x, groups).reshape(-1, x.shape[-1])
    queries, keys, values = (_linear(weights, f"{name}.{part}", tokens) for part in ("to_q", "to_k", "to_v"))
    scores = queries @ keys.T / np.sqrt(x.shape[-1])
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    attended = chances @ values / chances.sum(axis=1, keepdims=True)
    return np.asarray(x + _linear(weights, f"{name}.to_out.0", attended).reshape(x.shape))


def _linear(weights: Weights, name: str, x: Array) -> Array:
    return np.asarray(x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])


def convolve(weights: Weights, name: str, x: Array) -> Array:
    """A convolution with zeros around the map, as a sum of shifted maps; weights are (out, rows, columns, in)."""
    kernel = weights[f"{name}.weight"]
    size, (height, width, _) = kernel.shape[1], x.shape
    reach = size // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    y: Array = np.zeros((height, width, kernel.shape[0])) + weights[f"{name}.bias"]
    for down in range(size):
        for right in range(size):
            y += padded[down : down + height, right : right + width] @ kernel[:, down, right].T
    return y


def group_norm(weights: Weights, name: str, x: Array, groups: int) -> Array:
    grouped = x.reshape(-1, groups, x.shape[-1] // groups)
    mean, variance = grouped.mean((0, 2), keepdims=True), grouped.var((0, 2), keepdims=True)
    normal = ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
    return np.asarray(normal * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-x)))
