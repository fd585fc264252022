"""The same random model in diffusers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import diffusers
import torch

from tests.support.models import random_tensors, torch_shapes
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig


def shift_and_scale(config: AutoencoderKLConfig) -> tuple[Any, Any]:
    """What a pipeline subtracts from the VAE's latents, and what it then multiplies them by, NCHW."""
    if config.latents_mean is None or config.latents_std is None:
        return torch.tensor(config.shift_factor or 0.0), torch.tensor(config.scaling_factor)
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.latents_mean, config.latents_std))
    return mean, config.scaling_factor / std


def unscaled(latents: Any, config: AutoencoderKLConfig) -> Any:
    """A pipeline's latents as its VAE reads them."""
    shift, scale = shift_and_scale(config)
    return latents / scale + shift


def random_diffusers_vae(config: AutoencoderKLConfig, seed: int = 0) -> Any:
    """Return diffusers' AutoencoderKL with the weights of `tests.support.models.random_vae`."""
    model = diffusers.AutoencoderKL(**asdict(config))
    tensors = random_tensors(torch_shapes(config), seed)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()})
    return model.eval()
