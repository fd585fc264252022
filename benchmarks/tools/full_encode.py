"""The reference model's full encode in MLX."""

from __future__ import annotations

from functools import partial

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.images import images_of
from benchmarks.tools.full import timed
from zvae_tiled.chain.whole import run_whole
from zvae_tiled.jobs.encode import ready_image
from zvae_tiled.report.figures import random_vae

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS


def measure(case: Case, files: Files) -> Sample:
    """Encode."""
    del files
    footprint = Footprint()
    vae = random_vae(case.config, case.dtype, encoder=True)
    ready = ready_image(mx.array(images_of(case)), vae.dtype)
    model = partial(run_whole, case.config.chain("encode"), vae.weights)
    sample, _ = timed(vae, model, ready, ready[:, :64, :64], footprint)
    return sample
