"""Small video VAEs with random weights, and their decode in float64: each causal convolution keeps its last inputs."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
from safetensors.numpy import save_file

from tests.support.chain64 import aside64, attention64, normal64
from tests.support.float64 import Array, Weights, convolve, silu, widened
from tests.support.models import random_tensors
from zvae_tiled import VAE
from zvae_tiled.chain import Chain, Segment, Step
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.weights.vae import shapes_of
from zvae_tiled.weights.video import stored_shapes

SMALL = QwenImageConfig(base_dim=4, z_dim=16, dim_mult=(1, 2, 2), num_res_blocks=1, temperal_downsample=(True, False))
"""Three levels, of which the first two are doubled in time or in space alone."""

DEEP = QwenImageConfig(base_dim=4, z_dim=16, dim_mult=(1, 2, 2), num_res_blocks=1, temperal_downsample=(True, True))
"""A later frame of latents becomes four."""


def video_tensors(config: QwenImageConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights in PyTorch's layout, with all temporal slices."""
    shapes = shapes_of(config, ("decode",)) | stored_shapes(config)
    return random_tensors({name: (s if len(s) < 3 else (s[0], s[-1], *s[1:-1])) for name, s in shapes.items()}, seed)


def video_vae(config: QwenImageConfig = DEEP, dtype: str = "float32", seed: int = 0) -> VAE:
    """A VAE with random weights, made in memory."""
    return VAE.from_state_dict(video_tensors(config, seed), config, dtype, video=True)


def save_video_vae(path: Path, config: QwenImageConfig = DEEP) -> Path:
    """A file of random weights."""
    save_file(video_tensors(config), path)
    return path


def video_latents(config: QwenImageConfig, frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A pipeline's latents (1, C, frames, h, w)."""
    shape = (1, config.z_dim, frames, height, width)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def video64(vae: VAE, latents: np.ndarray) -> Array:
    """Decode latents (1, C, frames, h, w) into (frames, H, W, C) in [0, 1]."""
    weights = {name: widened(array) for name, array in vae.weights.items()}
    ready = unscale_latents(mx.array(latents[0].transpose(1, 2, 3, 0)), vae.config.latents, vae.weights)
    seen: dict[str, list[Array]] = {}
    found = [
        frame
        for number, picture in enumerate(widened(ready.astype(vae.dtype)))
        for frame in _frames(vae.config.video(), weights, picture, number == 0, seen)
    ]
    return np.clip(np.stack(found) / 2 + 0.5, 0, 1)


def _frames(
    segments: tuple[Segment, ...], weights: Weights, x: Array, first: bool, seen: dict[str, list[Array]]
) -> list[Array]:
    if not segments:
        return [x]
    segment, *others = segments
    found = []
    for chain in [segment.first] if first else segment.later:
        found += _frames(tuple(others), weights, _run(chain, weights, x, seen), first, seen)
    return found


def _run(chain: Chain, weights: Weights, x: Array, seen: dict[str, list[Array]]) -> Array:
    skips: list[Array] = []
    for step in chain.steps:
        skips += [x] if step.opens else []
        y = x if step.norm is None else normal64(step.norm, weights, x)
        y = silu(y) if step.activation == "silu" else y
        if step.kind == "attention":
            y = attention64(step, weights, y)
        else:
            y = _convolved(step, weights, y.repeat(2, axis=0).repeat(2, axis=1) if step.upsample else y, seen)
        x = y if step.closes is None else y + aside64(step.closes, weights, skips.pop())
    return x


def _convolved(step: Step, weights: Weights, x: Array, seen: dict[str, list[Array]]) -> Array:
    total = convolve(weights, step.name, x)
    if step.frames > 1:
        before = seen.setdefault(step.name, [])
        for name, earlier in zip(("before1", "before2"), before, strict=False):
            total = total + convolve(weights, f"{step.name}.{name}", earlier)
        seen[step.name] = [x, *before[:1]]
    return total
