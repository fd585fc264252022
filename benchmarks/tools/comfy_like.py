"""Tiles like ComfyUI's VAE decode, re-implemented on diffusers' decoder.

Three passes with tiles of 64 latents (wide, tall, square) are averaged. Each pass blends an overlap of 16 latents
linearly. Each tile has its own norms and its own attention.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch

from benchmarks.case import Case, Files, Sample
from benchmarks.tools.torch_vae import Decode, measure_with

TILE, OVERLAP = 64, 16
PASSES = ((TILE // 2, TILE * 2), (TILE * 2, TILE // 2), (TILE, TILE))


def measure(case: Case, files: Files) -> Sample:
    """Decode."""
    scale = case.config.scale

    def three_passes(model: Any) -> Decode:
        return lambda latents: sum(one_pass(model, latents, size, scale) for size in PASSES) / len(PASSES)

    sample = measure_with(case, files, three_passes)
    down, across = (
        sorted({seam for sizes in PASSES for seam in seams(length // scale, sizes[axis], scale)})
        for axis, length in enumerate((case.height, case.width))
    )
    sample.seams, sample.flops = (down, across), None
    return sample


def one_pass(model: Any, latents: Any, size: tuple[int, int], scale: int) -> Any:
    """Decode tile by tile, and blend."""
    height, width = latents.shape[2:]
    picture = torch.zeros((1, 3, height * scale, width * scale))
    weight = torch.zeros((1, 1, height * scale, width * scale))
    for top, bottom in spans(height, size[0]):
        for left, right in spans(width, size[1]):
            pixels = model.decode(latents[:, :, top:bottom, left:right]).sample.float()
            mask = ramp(bottom - top, scale)[:, None] * ramp(right - left, scale)
            place = (..., slice(top * scale, bottom * scale), slice(left * scale, right * scale))
            picture[place] += pixels * mask
            weight[place] += mask
    return picture / weight


def spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    """Yield where tiles begin and end. The last tile may overlap more."""
    for start in range(0, max(1, length - OVERLAP), tile - OVERLAP):
        first = max(0, min(length - OVERLAP, start))
        yield first, min(length, first + tile)


def ramp(length: int, scale: int) -> Any:
    """Return weights that grow linearly over the overlap at both ends."""
    feather, size = OVERLAP * scale, length * scale
    steps = torch.arange(1, size + 1)
    return torch.minimum(steps, steps.flip(0)).clamp(max=feather) / feather


def seams(length: int, tile: int, scale: int) -> list[int]:
    """Return the middles of the overlaps, in pixels."""
    return [(a[1] + b[0]) * scale // 2 for a, b in pairwise(spans(length, tile))]
