"""diffusers with ``enable_tiling()``. Option ``tile``: pixels of a tile. Default: the model's sample size."""

from __future__ import annotations

from typing import Any

from benchmarks.case import Case, Files, Sample
from benchmarks.tools.torch_vae import Decode, measure_with, whole
from benchmarks.weights import SAMPLE_SIZE


def measure(case: Case, files: Files) -> Sample:
    """Decode."""
    tile = case.options.get("tile", SAMPLE_SIZE)
    if max(case.height, case.width) <= tile:
        return Sample(outcome="does not tile at this size: as the full decode")

    def tiled(model: Any) -> Decode:
        model.enable_tiling()
        model.tile_sample_min_size = tile
        model.tile_latent_min_size = tile // case.config.scale
        return whole(model)

    sample = measure_with(case, files, tiled)
    step = tile - tile // 4  # neighbours share a quarter
    down, across = ([at + tile // 8 for at in range(step, size, step)] for size in (case.height, case.width))
    sample.seams = (down, across)
    sample.flops = None
    return sample
