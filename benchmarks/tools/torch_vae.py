"""diffusers' AutoencoderKL in torch, with what makes it fastest on a CPU; shared by all tools that run on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import torch

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.work import full_flops

Decode = Callable[[Any], Any]
"""From unscaled latents (1, C, h, w) to the decoder's own values (1, 3, H, W)."""


def measure_with(case: Case, files: Files, how: Callable[[Any], Decode]) -> Sample:
    """Load, and decode some times.

    Args:
        case: The case.
        files: Where model and latents are.
        how: Makes the decode from the model.
    """
    footprint = Footprint()
    dtype = getattr(torch, case.dtype)
    assert files.model is not None
    assert files.latents is not None
    model = diffusers.AutoencoderKL.from_pretrained(files.model, torch_dtype=dtype)
    model = model.eval().to(memory_format=torch.channels_last)  # oneDNN's convolutions need no reordering then
    model.encoder = None
    latents = torch.from_numpy(np.load(files.latents)).to(dtype)
    latents = latents / model.config.scaling_factor + (model.config.shift_factor or 0.0)
    latents = latents.contiguous(memory_format=torch.channels_last)
    decode, times = how(model), []
    with torch.inference_mode():
        model.decode(latents[:, :, :8, :8])
        footprint.forget()
        for _ in range(case.runs):
            start = time.perf_counter()
            picture = decode(latents)
            times.append(time.perf_counter() - start)
    if files.picture:
        np.save(files.picture, picture.float().numpy().transpose(0, 2, 3, 1))
    flops = full_flops(case.config, *latents.shape[2:])
    return Sample(seconds=times, footprint=footprint.grown(), flops=flops)


def whole(model: Any) -> Decode:
    """Decode in one piece."""
    return lambda latents: model.decode(latents).sample
