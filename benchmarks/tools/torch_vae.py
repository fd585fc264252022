"""diffusers' VAE of a case, in torch, in its fastest form. All torch tools use it.

It computes on a GPU of NVIDIA if torch has one, and takes no more of the card than the case's budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import numpy as np
import torch
from torch.nn import functional

from benchmarks.case import BUDGETS, Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.tools.torch_latents import unscaled
from benchmarks.work import full_flops
from zvae_tiled.devices.table import wants_cpu
from zvae_tiled.planner.budget import Available, parse_budget

STRIP = 64
"""Rows that are convolved at once in float64."""

Decode = Callable[[Any], Any]
"""A function from unscaled latents (1, C, h, w) to the decoder's raw values (1, 3, H, W)."""


def measure_with(case: Case, files: Files, how: Callable[[Any], Decode]) -> Sample:
    """Load the model, and measure a decode.

    Args:
        case: The case.
        files: The files of model, latents and picture.
        how: Returns the decode function for the model.
    """
    assert files.latents is not None
    footprint = Footprint()
    card = torch.cuda.is_available() and not wants_cpu()
    if card and case.budget not in BUDGETS:
        whole_card = torch.cuda.mem_get_info()[1]
        torch.cuda.set_per_process_memory_fraction(parse_budget(case.budget, Available(0)).size / whole_card)
    model = loaded(case, files, without="encoder").to("cuda" if card else "cpu")
    if case.dtype == "float64" and not card:
        by_rows(model)
    latents = torch.from_numpy(np.load(files.latents)).to(model.device, model.dtype)
    latents = unscaled(latents, model).contiguous(memory_format=torch.channels_last)
    decode = how(model)
    with torch.inference_mode():
        decode(latents) if case.options.get("compile") else whole(model)(latents[:, :, :8, :8])
        footprint.forget()
        start = time.perf_counter()
        picture = decode(latents).cpu()
        taken = time.perf_counter() - start
    if files.picture:
        np.save(files.picture, picture.float().numpy().transpose(0, 2, 3, 1))
    return Sample(
        seconds=taken,
        footprint=footprint.grown(),
        allocator_peak=torch.cuda.max_memory_allocated() if card else None,
        flops=full_flops(case.config, *latents.shape[2:]),
    )


def loaded(case: Case, files: Files, without: str = "") -> Any:
    """Return diffusers' model, with its weights channels last, so that oneDNN's convolutions need no reordering.

    Args:
        case: The case.
        files: The files of the model.
        without: The half to drop. Default: neither.
    """
    kind = getattr(diffusers, case.config.class_name)
    model = kind.from_pretrained(files.model, torch_dtype=getattr(torch, case.dtype)).eval()
    if without:
        setattr(model, without, torch.nn.Identity())  # not None, for Qwen-Image's class counts its layers
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in model.parameters():
        weight.data = weight.data.contiguous(memory_format=formats.get(weight.ndim, torch.contiguous_format))
    return model


def by_rows(model: Any) -> None:
    """Let 3×3 convolutions compute some rows at once, because in float64 torch unfolds a map to nine times its size."""
    for conv in model.decoder.modules():
        if isinstance(conv, torch.nn.Conv2d) and conv.kernel_size == (3, 3):
            conv.forward = partial(convolved, conv)


def convolved(conv: torch.nn.Conv2d, x: Any) -> Any:
    """Convolve in strips, with a row above and below each strip, and zeros at the borders."""
    height, parts = x.shape[2], []
    for top in range(0, height, STRIP):
        bottom = min(height, top + STRIP)
        strip = x[:, :, max(0, top - 1) : bottom + 1]
        strip = functional.pad(strip, (1, 1, int(top == 0), int(bottom == height)))
        parts.append(functional.conv2d(strip, conv.weight, conv.bias))
    return torch.cat(parts, 2)


def whole(model: Any) -> Decode:
    """Return the full decode of the model."""
    if has_frames(model):
        return lambda latents: model.decode(latents[:, :, None]).sample[:, :, 0]
    return lambda latents: model.decode(latents).sample


def encoded(model: Any, images: Any) -> Any:
    """Return the full encode of pictures in [-1, 1] (B, C, H, W): the encoder's latents, the mode if there is one."""
    if has_frames(model):
        return model.encode(images[:, :, None]).latent_dist.mode()[:, :, 0]
    found = model.encode(images)
    if hasattr(found, "latent_dist"):
        return found.latent_dist.mode()
    return found.latents if hasattr(found, "latents") else found.latent


def has_frames(model: Any) -> bool:
    """Return whether the model decodes videos, of which a picture is one frame."""
    return "temperal_downsample" in model.config
