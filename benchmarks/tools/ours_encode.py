"""zvae_tiled's encoder in bands, in the budget of the case."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.images import images_of
from zvae_tiled import VAE, BudgetError
from zvae_tiled.report.figures import AMPLE, random_vae

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS


def measure(case: Case, files: Files) -> Sample:
    """Encode. The time includes planning, as for a user."""
    footprint = Footprint()
    vae = load(case, files)
    images = images_of(case)
    size = AMPLE if case.budget == "ample" else least_budget(vae, images)
    if case.suite != "memory":  # libraries start their threads in the first call
        vae.encode(images[:, :64, :64])
    footprint.forget()
    start = time.perf_counter()
    found, report = vae.encode(images, budget=f"{size}B", return_report=True)
    taken = time.perf_counter() - start
    sample = Sample(
        seconds=taken,
        footprint=footprint.grown(),
        allocator_peak=report.measured_peak,
        predicted_peak=report.predicted_peak,
        budget=None if size == AMPLE else size,
        plan=report.plan.digest,
        flops=report.plan.predicted_flops,
    )
    if files.picture:
        np.save(files.picture, np.asarray(found.mode().astype(mx.float32)).transpose(0, 2, 3, 1))
    return sample


def load(case: Case, files: Files) -> VAE:
    """Return the VAE of the files, with its encoder. Default: a random one."""
    if files.model is None:
        return random_vae(case.config, case.dtype, encoder=True)
    return VAE.load(files.model, case.dtype, decoder_only=False)


def least_budget(vae: VAE, images: np.ndarray) -> int:
    """Return the smallest budget in bytes that works."""
    try:
        vae.encode(images, budget="1B")
    except BudgetError as error:
        return error.needed
    raise AssertionError("one byte was enough")
