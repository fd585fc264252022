"""Small models with weights that look like trained ones: no norm is the identity, no bias is zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
from safetensors.numpy import save_file

from zvae_tiled import VAE, VAEConfig
from zvae_tiled.chain.whole import run_whole
from zvae_tiled.families.autoencoder_kl import PRESETS as KL_PRESETS
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.dc import DCConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.weights.layout import Layout
from zvae_tiled.weights.mosaics import laid_out, mosaic_of
from zvae_tiled.weights.vae import DTYPES, file_shapes, shapes_of

PRESETS = ("z-image", "flux1", "sd1", "sdxl", "sd3", "playground-2.5", "cogview4")

FLUX2 = Flux2Config(latent_channels=4, block_out_channels=(8, 8, 16, 16), norm_num_groups=4, batch_norm_eps=1e-3)
"""FLUX.2 as published, but for the widths and for an eps large enough to matter."""


def narrow(preset: str, widths: tuple[int, ...] = (8, 8, 16, 16), groups: int = 4) -> AutoencoderKLConfig:
    """A preset as published, but for the widths."""
    config = KL_PRESETS[preset]
    return replace(config, block_out_channels=widths[: len(config.block_out_channels)], norm_num_groups=groups)


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of these shapes: convolutions keep the variance, norms and biases differ from their defaults."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in sorted(shapes.items()):
        values = rng.standard_normal(shape)
        if len(shape) > 1:
            values *= np.prod(shape[1:]) ** -0.5
        elif name.endswith(("weight", "running_var", "gamma")):
            values = np.abs(1 + 0.2 * values)
        else:
            values *= 0.1
        tensors[name] = values.astype(np.float32)
    return tensors


def torch_shapes(config: VAEConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes as diffusers stores this model."""
    return {name: to_torch_layout(shape) for name, shape in file_shapes(config).items()}


def to_torch_layout(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else tuple(shape)


def random_vae(config: VAEConfig, dtype: str = "float32", seed: int = 0) -> VAE:
    """A VAE with random weights, made in memory."""
    tensors, wide = random_tensors(torch_shapes(config), seed), config.latents.shapes
    for name, shape in file_shapes(config).items():
        if (mosaic := mosaic_of(name, config.mosaics())) is not None:
            tensors[name] = laid_out(tensors[name], shape, mosaic, Layout.PYTORCH)
    weights = {
        name: mx.array(values.transpose(0, 2, 3, 1) if values.ndim == 4 else values)
        .reshape(shape)
        .astype(mx.float32 if name in wide else DTYPES[dtype])
        for name, shape in shapes_of(config).items()
        for values in (tensors[name],)
    }
    mx.eval(weights)
    return VAE(config, weights, DTYPES[dtype])


def with_weights(vae: VAE, changed: Mapping[str, mx.array]) -> VAE:
    """The same VAE with some other weights, in its own type."""
    fresh = {name: array.astype(vae.dtype) for name, array in changed.items()}
    assert fresh.keys() <= vae.weights.keys()
    return VAE(vae.config, {**vae.weights, **fresh}, vae.dtype)


def whole_decode(vae: VAE, ready: mx.array) -> mx.array:
    """The reference's decode of latents as the decoder reads them."""
    return run_whole(vae.config.chain("decode"), vae.weights, ready)


def whole_encode(vae: VAE, ready: mx.array) -> mx.array:
    """The reference's encode of pictures in [-1, 1]: the moments of their latents."""
    return run_whole(vae.config.chain("encode"), vae.weights, ready)


def save_random(config: VAEConfig, path: Path, seed: int = 0) -> Path:
    """Write random weights of this model as diffusers would."""
    save_file(random_tensors(torch_shapes(config), seed), path)
    return path


def random_images(config: VAEConfig, height: int, width: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    """Pictures whose latents, as a pipeline has them, are of this size; NHWC in [0, 1]."""
    shape = (batch, height * config.cell, width * config.cell, config.image_channels)
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def random_latents(config: VAEConfig, height: int, width: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    """A pipeline's latents, NCHW, of this height and width."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, config.latents.channels, height, width)).astype(np.float32)


def pipelines(config: VAEConfig, height: int, width: int, batch: int, seed: int) -> np.ndarray:
    """Latents as a pipeline returns them, NCHW, of this many packed pixels."""
    channels, grain = config.latents.returned
    shape = (batch, channels, height * grain, width * grain)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pack(nchw: np.ndarray) -> np.ndarray:
    """FLUX's packing, written from its description: a token is a 2×2 cell, channel by channel."""
    batch, channels, height, width = nchw.shape
    tokens = np.zeros((batch, height // 2 * (width // 2), channels * 4), nchw.dtype)
    for row in range(height // 2):
        for column in range(width // 2):
            cell = nchw[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            tokens[:, row * (width // 2) + column] = cell.reshape(batch, -1)
    return tokens


TINY_DC = DCConfig(
    latent_channels=4,
    attention_head_dim=4,
    encoder_block_types=("ResBlock", "EfficientViTBlock"),
    decoder_block_types=("ResBlock", "EfficientViTBlock"),
    encoder_block_out_channels=(4, 8),
    decoder_block_out_channels=(4, 8),
    encoder_layers_per_block=(1, 1),
    decoder_layers_per_block=(1, 1),
    encoder_qkv_multiscales=((), ()),
    decoder_qkv_multiscales=((), (3,)),
)
"""A VAE of SANA with one level of convolutions and one of linear attentions."""
