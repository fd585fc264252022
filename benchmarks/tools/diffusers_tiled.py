"""diffusers with ``enable_tiling()``; option ``tile``: pixels of a tile, left out its own (the model's sample size)."""

from __future__ import annotations

from typing import Any

from benchmarks.case import Case, Files, Sample
from benchmarks.tools.torch_vae import Decode, measure_with, whole


def measure(case: Case, files: Files) -> Sample:
    """Decode some times."""
    seams: list[int] = []

    def tiled(model: Any) -> Decode:
        model.enable_tiling()
        if "tile" in case.options:
            model.tile_sample_min_size = case.options["tile"]
            model.tile_latent_min_size = case.options["tile"] // case.config.scale
        tile, overlap = model.tile_sample_min_size, int(model.tile_sample_min_size * model.tile_overlap_factor)
        if max(case.height, case.width) > tile:
            seams.extend(start + overlap // 2 for start in range(tile - overlap, case.width, tile - overlap))
        return whole(model)

    sample = measure_with(case, files, tiled)
    if not seams:
        return Sample(outcome="does not tile at this size: as the full decode")
    sample.seams = (seams, seams)
    sample.flops = None
    return sample
