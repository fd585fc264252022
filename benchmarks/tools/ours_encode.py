"""zvae_tiled's encoder: bands, in the budget of the case."""

from __future__ import annotations

import numpy as np

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from zvae_tiled import VAE, BudgetError
from zvae_tiled.selfbench import AMPLE, random_vae


def measure(case: Case, files: Files) -> Sample:
    """Encode some times."""
    del files
    footprint = Footprint()
    vae = random_vae(case.config, case.dtype, encoder=True)
    images = images_of(case)
    size = AMPLE if case.budget == "ample" else least_budget(vae, images)
    vae.encode(images[:, :64, :64])
    footprint.forget()
    reports = [vae.encode(images, budget=f"{size}B", return_report=True)[1] for _ in range(case.runs)]
    return Sample(
        seconds=[report.seconds for report in reports],
        footprint=footprint.grown(),
        allocator_peak=max(report.measured_peak for report in reports),
        predicted_peak=reports[0].predicted_peak,
        budget=None if size == AMPLE else size,
        plan=reports[0].plan.digest,
        flops=reports[0].plan.predicted_flops,
    )


def images_of(case: Case) -> np.ndarray:
    """Return a random picture (1, H, W, 3)."""
    return np.random.default_rng(0).uniform(0, 1, (case.batch, case.height, case.width, 3)).astype(np.float32)


def least_budget(vae: VAE, images: np.ndarray) -> int:
    """Return the smallest budget in bytes that works."""
    try:
        vae.encode(images, budget="1B")
    except BudgetError as error:
        return error.needed
    raise AssertionError("one byte was enough")
