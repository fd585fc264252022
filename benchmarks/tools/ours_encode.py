"""zvae_tiled's encoder in bands, in the budget of the case."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from zvae_tiled import VAE, BudgetError
from zvae_tiled.report.figures import AMPLE, random_vae


def measure(case: Case, files: Files) -> Sample:
    """Encode."""
    del files
    footprint = Footprint()
    vae = random_vae(case.config, case.dtype, encoder=True)
    images = images_of(case)
    size = AMPLE if case.budget == "ample" else least_budget(vae, images)
    vae.encode(images[:, :64, :64])
    footprint.forget()
    start = time.perf_counter()
    _, report = vae.encode(images, budget=f"{size}B", return_report=True)
    return Sample(
        seconds=time.perf_counter() - start,
        footprint=footprint.grown(),
        allocator_peak=report.measured_peak,
        predicted_peak=report.predicted_peak,
        budget=None if size == AMPLE else size,
        plan=report.plan.digest,
        flops=report.plan.predicted_flops,
    )


def images_of(case: Case) -> np.ndarray:
    """Return random pictures (B, H, W, 3)."""
    return np.random.default_rng(0).uniform(0, 1, (case.batch, case.height, case.width, 3)).astype(np.float32)


def least_budget(vae: VAE, images: np.ndarray) -> int:
    """Return the smallest budget in bytes that works."""
    try:
        vae.encode(images, budget="1B")
    except BudgetError as error:
        return error.needed
    raise AssertionError("one byte was enough")
