"""Saves a random VAE in the format of diffusers, once for all tools of a race."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import mlx.core as mx

from tests.support.models import random_tensors, torch_shapes
from zvae_tiled import VAEConfig

SAMPLE_SIZE = 1024
"""Sample size of Z-Image's VAE in pixels. Only diffusers' tile size depends on it."""

WEIGHTS = "diffusion_pytorch_model.safetensors"


def save_random_vae(config: VAEConfig, folder: Path) -> Path:
    """Write config and weights. They are in bfloat16, so that every tool and type computes with the same numbers."""
    folder.mkdir(parents=True)
    named = {
        name: mx.array(values).astype(mx.bfloat16) for name, values in random_tensors(torch_shapes(config)).items()
    }
    mx.save_safetensors(str(folder / WEIGHTS), named)
    (folder / "config.json").write_text(
        json.dumps({"_class_name": "AutoencoderKL", "sample_size": SAMPLE_SIZE, **asdict(config)})
    )
    return folder
