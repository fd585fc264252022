"""How diffusers' pipelines turn their latents into those of a VAE, and back, by its own config and weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

PATCH = 2
"""Rows and columns of latents in a pixel of FLUX.2's packed map."""


def unscaled(latents: Any, model: Any) -> Any:
    """Return a pipeline's latents (B, C, h, w) as the decoder reads them."""
    shift, deviation = shift_and_deviation(model, latents)
    latents = latents * deviation + shift
    return functional.pixel_shuffle(latents, PATCH) if is_packed(model) else latents


def scaled(latents: Any, model: Any) -> Any:
    """Return the encoder's latents (B, C, h, w) as a pipeline has them."""
    if is_packed(model):
        latents = functional.pixel_unshuffle(latents, PATCH)
    shift, deviation = shift_and_deviation(model, latents)
    return (latents - shift) / deviation


def is_packed(model: Any) -> bool:
    """Return whether the pipeline packs 2×2 latents, and normalises them by the statistics in the weights."""
    return hasattr(model, "bn")


def shift_and_deviation(model: Any, like: Any) -> tuple[Any, Any]:
    """Return what a decode adds to latents, and what it multiplies them by before that: for all channels, or each."""
    config = model.config
    if is_packed(model):
        values = (model.bn.running_mean, (model.bn.running_var + config.batch_norm_eps).sqrt())
    elif getattr(config, "latents_mean", None) is not None:
        deviation = torch.tensor(config.latents_std) / getattr(config, "scaling_factor", 1.0)
        values = (torch.tensor(config.latents_mean), deviation)
    else:
        shift = getattr(config, "shift_factor", None) or 0.0
        values = (torch.tensor([shift]), torch.tensor([1 / config.scaling_factor]))
    shift, deviation = (each[:, None, None].to(like) for each in values)
    return shift, deviation
