"""diffusers' full encode of random pictures into a pipeline's latents. The decoder is loaded too, as by `VAE.load`."""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.images import images_of
from benchmarks.tools.torch_latents import scaled
from benchmarks.tools.torch_vae import encoded, loaded


def measure(case: Case, files: Files) -> Sample:
    """Encode."""
    footprint = Footprint()
    model = loaded(case, files)
    images = torch.from_numpy(images_of(case).transpose(0, 3, 1, 2)).to(model.dtype) * 2 - 1
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        encoded(model, images[:, :, :64, :64])
        footprint.forget()
        start = time.perf_counter()
        latents = encoded(model, images)
        taken = time.perf_counter() - start
        grown = footprint.grown()
        if files.picture:
            np.save(files.picture, scaled(latents, model).float().numpy().transpose(0, 2, 3, 1))
    return Sample(seconds=taken, footprint=grown)
