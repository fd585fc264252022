"""Bits: whatever the budget, the plan, the threads, the batch and the stripes, a decode gives the same bytes."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np

from tests.campaign.part import Case, Part
from tests.support.models import pipelines, random_vae
from tests.support.plans import bits, plan_for, random_any
from tests.support.striped import Sent, in_stripes, striped_rows
from zvae_tiled import VAE, BudgetError
from zvae_tiled.devices.native_cpu.choice import THREADS, VARIABLE, native_status
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.jobs.decode import Decode
from zvae_tiled.jobs.job import Terms
from zvae_tiled.planner.case import PlannedTask
from zvae_tiled.planner.ends import PROCESS

EACH = 5
"""Decodes of a case. All must give the same bytes."""

WAYS = ("plan", "budget", "budget", "alone", "stream", "file", "stripes")
"""Ways of a decode, each of the same chance."""


def attempt(case: Case) -> int:
    """Decode the same latents in several ways, by one path of kernels."""
    rng = case.rng
    os.environ[VARIABLE] = rng.choice(["mlx", *native_status().runs])
    try:
        return _decodes(rng, case.folder)
    finally:
        os.environ.pop(VARIABLE)
        os.environ.pop(THREADS, None)


def _decodes(rng: Random, folder: Path) -> int:
    config, dtype = random_any(rng), rng.choice(["float32", "bfloat16", "float16"])
    longest = 24 // config.cell + 1
    sides, batch, seed = (rng.randint(1, longest), rng.randint(1, longest)), rng.randint(1, 3), rng.getrandbits(31)
    vae, latents = random_vae(config, dtype, seed), pipelines(config, *sides, batch, seed)
    told, found = [], []
    for _ in range(EACH):
        os.environ[THREADS] = f"{rng.choice([1, 2, 3, 5, 8])}"
        how, pictures = _one_way(vae, latents, sides, rng, folder)
        told.append(f"{how}, {os.environ[THREADS]} threads")
        found.append([bits(picture) for picture in pictures])
    assert all(each == found[0] for each in found), f"{os.environ[VARIABLE]} {dtype} {config} {sides}×{batch}: {told}"
    return EACH


def _one_way(
    vae: VAE, latents: np.ndarray, sides: tuple[int, int], rng: Random, folder: Path
) -> tuple[str, list[mx.array | np.ndarray]]:
    """Decode in one way; return its name and the pictures."""
    size = sides[0] * vae.config.cell, sides[1] * vae.config.cell
    way = rng.choice(WAYS)
    if way == "stripes":
        count = rng.randint(1, 7)
        return f"{count} stripes", [_in_stripes(vae, each[None], sides, count, rng) for each in latents]
    options: dict[str, Any] = {"spill_folder": folder}
    if way == "plan":
        options["plan"] = plan_for(vae, (len(latents), 0, *sides), rng)
    else:
        options["budget"] = _budget(vae, size, 1 if way == "alone" else len(latents), rng, way)
    if way == "alone":
        return way, [vae.decode(each[None], **options)[0] for each in latents]
    if way == "stream":
        rows = mx.concatenate([each[0] for each in vae.stream(latents, **options)], axis=0)
        return way, list(rows.reshape(len(latents), size[0], size[1], -1))
    if way == "file":
        vae.decode_to_file(latents, folder / "picture.npy", **options)
        return way, [np.load(path) for path in sorted(folder.glob("*.npy"))]
    return f"{way} {options.get('budget')}", list(vae.decode(latents, **options))


def _in_stripes(vae: VAE, latents: np.ndarray, sides: tuple[int, int], count: int, rng: Random) -> mx.array:
    """Decode one picture stripe by stripe, by a random plan."""
    plan = plan_for(vae, (1, 0, *sides), rng)
    job = Decode(vae, read_latents(latents, vae.config), True, Terms(plan=plan))
    return striped_rows(vae, job, in_stripes(vae, plan, count), Sent())[0]


def _budget(vae: VAE, size: tuple[int, int], batch: int, rng: Random, way: str) -> str:
    """A budget between the smallest and one that keeps everything."""
    task: PlannedTask = "stream" if way in ("stream", "file") else "decode"
    least = 0
    try:
        vae.plan(*size, budget="1B", batch=batch, task=task)
    except BudgetError as error:
        least = error.needed
    most = vae.plan(*size, budget="1000TB", batch=batch, task=task).predicted_peak
    extra = (max(most, least) - least) * rng.choice([0.0, rng.random(), 1.0])
    return f"{least + int(extra) + (PROCESS if way == 'file' else 0)}B"


PARTS = (
    Part(
        "decodes",
        "decodes of the same latents by the same path of kernels: any family, type, budget, plan, number of threads; "
        "in a batch or alone; as an array, a stream or a file, or in stripes",
        aim=2000,
        sample=40,
        attempt=attempt,
    ),
)
