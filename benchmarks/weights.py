"""Saves a random VAE in the format of diffusers, once for all tools of a race."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx

from benchmarks.frames import with_frames, with_matrices, with_projections
from tests.support.models import random_tensors, torch_shapes
from zvae_tiled import VAEConfig
from zvae_tiled.families.dc import DCConfig
from zvae_tiled.families.hunyuan_image import HunyuanImageConfig
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.families.qwen_image_2_1 import QwenImage21Config
from zvae_tiled.families.wan import WanConfig

SAMPLE_SIZE = 1024
"""Sample size of Z-Image's VAE in pixels. Only diffusers' tile size depends on it."""

WEIGHTS = "diffusion_pytorch_model.safetensors"


def save_random_vae(config: VAEConfig, folder: Path) -> Path:
    """Write config and weights.

    They are numbers of bfloat16, so that every tool and type computes with the same. Statistics of latents are stored
    in float32, as in published files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(torch_shapes(config))
    if isinstance(config, QwenImageConfig | QwenImage21Config | WanConfig):
        tensors = with_frames(tensors, config)
    if isinstance(config, HunyuanImageConfig):
        tensors = with_projections(tensors)
    if isinstance(config, DCConfig):
        tensors = with_matrices(tensors)
    named = {name: mx.array(values).astype(mx.bfloat16) for name, values in tensors.items()}
    named |= {name: named[name].astype(mx.float32) for name in config.latents.shapes}
    mx.save_safetensors(str(folder / WEIGHTS), named)
    (folder / "config.json").write_text(
        json.dumps({"_class_name": config.class_name, "sample_size": SAMPLE_SIZE, **config.only, **asdict(config)})
    )
    return folder
