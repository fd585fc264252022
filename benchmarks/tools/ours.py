"""zvae_tiled's decoder: bands, tiles and streams, in the budget of the case."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.case import BUDGETS, Case, Files, Sample
from benchmarks.footprint import Footprint
from zvae_tiled import VAE
from zvae_tiled.planner.budget import Available, parse_budget
from zvae_tiled.planner.quality import QUALITIES, Quality
from zvae_tiled.report.figures import AMPLE, least_budget, random_latents, random_vae


def measure(case: Case, files: Files) -> Sample:
    """Decode. The time includes planning, as for a user."""
    footprint = Footprint()
    vae = load(case, files)
    latents = latents_of(case, files)
    size = budget_of(case, vae, latents)
    if case.suite != "memory":  # libraries start their threads in the first call
        vae.decode(latents[:1, :, :8, :8])
    footprint.forget()
    start = time.perf_counter()
    picture, report = vae.decode(
        latents,
        output_type="np",
        raw=True,
        budget=f"{size}B",
        return_report=True,
        quality=quality_of(case),
    )
    taken, plan = time.perf_counter() - start, report.plan
    sample = Sample(
        seconds=taken,
        footprint=footprint.grown(),
        allocator_peak=report.measured_peak,
        predicted_peak=report.predicted_peak,
        budget=None if size == AMPLE else size,
        plan=plan.digest,
        flops=plan.predicted_flops,
        seams=(list(plan.seams[0]), list(plan.seams[1])),
    )
    if files.picture:
        np.save(files.picture, picture)
    return sample


def load(case: Case, files: Files) -> VAE:
    """Return the VAE of the files. Default: a random one."""
    return random_vae(case.config, case.dtype) if files.model is None else VAE.load(files.model, case.dtype)


def latents_of(case: Case, files: Files) -> Any:
    """Return latents (B, C, h, w)."""
    if files.latents is None:
        return random_latents(case.config, case.height, case.width, case.batch)
    return np.load(files.latents)


def quality_of(case: Case) -> Quality:
    """Return the quality from the case's options, which are plain JSON."""
    options = dict(case.options)
    return QUALITIES[options.pop("quality", "exact")](**options)


def budget_of(case: Case, vae: VAE, latents: Any) -> int:
    """Return the budget of the case in bytes."""
    if case.budget == "ample":
        return AMPLE
    if case.budget not in BUDGETS:
        return parse_budget(case.budget, Available(0)).size
    least = least_budget(vae, latents, quality=quality_of(case))
    if case.budget == "least":
        return least
    ample = vae.plan(case.height, case.width, f"{AMPLE}B", batch=case.batch).predicted_peak
    return max(least, ample // 2) if case.budget == "half" else (least + ample) // 2
