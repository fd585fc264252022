"""The same random model in diffusers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import diffusers
import torch

from tests.support.models import random_tensors, torch_shapes
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig


def random_diffusers_vae(config: AutoencoderKLConfig, seed: int = 0) -> Any:
    """Return diffusers' AutoencoderKL with the weights of `tests.support.models.random_vae`."""
    model = diffusers.AutoencoderKL(**asdict(config))
    tensors = random_tensors(torch_shapes(config), seed)
    model.load_state_dict({name: torch.from_numpy(values) for name, values in tensors.items()})
    return model.eval()
