"""Calls of ComfyUI's nodes, which several files of tests share."""

from __future__ import annotations

from typing import Any

from tests.test_comfyui_nodes import NODES
from zvae_tiled.adapters import comfyui

BUDGET = {"budget": "1GB"}
ANY = {**BUDGET, "quality": "exact"}


def node(name: str) -> Any:
    return NODES[name]()


def samples(vae: Any, height: int = 3, width: int = 5, batch: int = 1) -> dict[str, Any]:
    import torch

    channels = comfyui.copied(vae).config.latents.channels
    shape = (batch, channels, 1, height, width) if vae.latent_dim == 3 else (batch, channels, height, width)
    return {"samples": torch.randn(shape, generator=torch.Generator().manual_seed(0))}
