"""The reference model's full encode in MLX."""

from __future__ import annotations

from zvae_tiled.model import AutoencoderKL

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.tools.full import timed
from benchmarks.tools.ours_encode import images_of
from zvae_tiled.encoding import ready_image
from zvae_tiled.selfbench import random_vae

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS


def measure(case: Case, files: Files) -> Sample:
    """Encode some times."""
    del files
    footprint = Footprint()
    vae = random_vae(case.config, case.dtype, encoder=True)
    assert isinstance(vae.model, AutoencoderKL)
    ready = ready_image(mx.array(images_of(case)), vae.dtype)
    sample, _ = timed(vae, vae.model.encode, ready, ready[:, :64, :64], footprint)
    return sample
