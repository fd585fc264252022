"""What this machine does, measured in some minutes and written to one file that its owner may send.

A decoder of Z-Image's size with random weights: nothing is downloaded, nothing of the user's is read, and the file
names no user, no host and no path. `benchmarks/` measures with the same rows, and reads such files.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.here import device_kind, device_name
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import Task, VAEConfig, config_of
from zvae_tiled.files.atomic import write_text
from zvae_tiled.planner.plan import Plan
from zvae_tiled.report.environment import environment
from zvae_tiled.vae import VAE
from zvae_tiled.weights.vae import DTYPES, shapes_of

SIZES = (256, 512, 1024, 2048)
PRODUCT = 2048
"""Rows and columns of the matrices whose product is the ceiling."""

AMPLE = 1 << 50
"""A budget that nothing on any machine exceeds."""


@dataclass(frozen=True)
class Row:
    """One measurement; bytes, seconds, and shapes in pixels.

    Attributes:
        suite: What it belongs to.
        tool: What decoded.
        family: The VAE: a preset, with its widths where they are not the published ones.
        batch: Pictures.
        height: Of a picture.
        width: Of a picture.
        dtype: Of the weights.
        quality: ``exact``, or what else, with its options.
        budget: What was allowed; None where nothing can be said.
        plan: The plan's digest.
        predicted_peak: What the plan promised to stay below.
        allocator_peak: MLX's allocator at its peak, weights and latents included.
        footprint: The process's high-water mark above what it was before it had weights.
        seconds: Median of the runs.
        spread: Shortest and longest run.
        runs: How many there were.
        rounds: Seconds of each, in order: where tools took turns, runs of the same round met the same noise.
        flops: Multiplications and additions that were done.
        max_error: Largest difference to the reference, as a share of the reference's range.
        psnr: Signal to noise against it in dB.
        seams: Seam score, and the reference's at the same places.
        outcome: ``ok``, or why there are no figures.
        note: What a reader must know.
        environment: Machine and versions (`zvae_tiled.report.environment`).
    """

    suite: str
    tool: str
    family: str
    height: int
    width: int
    dtype: str
    batch: int = 1
    quality: str = "exact"
    budget: int | None = None
    plan: str | None = None
    predicted_peak: int | None = None
    allocator_peak: int | None = None
    footprint: int | None = None
    seconds: float | None = None
    spread: tuple[float, float] | None = None
    runs: int = 0
    rounds: tuple[float, ...] = ()
    flops: float | None = None
    max_error: float | None = None
    psnr: float | None = None
    seams: tuple[float, float] | None = None
    outcome: str = "ok"
    note: str = ""
    environment: dict[str, Any] = field(default_factory=dict)


def self_benchmark(seconds: float = 300.0, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Measure this machine: the ceiling of matrix products, and exact decodes in ample and in smallest budgets.

    Sizes grow from 256² to 2048², and end where the time would.

    Args:
        seconds: About how long it may take.
        progress: Told what is measured now.
    """
    end = time.monotonic() + seconds
    where = {**environment(device_kind()), "device_name": device_name()}
    rows: list[Row] = []
    for row in _rows(end, progress or (lambda _: None)):
        rows.append(row)
    return {"format": 1, "environment": where, "rows": [_plain(row) for row in rows]}


def write(found: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write what `self_benchmark` found as JSON; the file appears whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(Path(path), json.dumps(found, indent=1) + "\n")


def random_vae(config: VAEConfig, dtype: str, encoder: bool = False) -> VAE:
    """Return a decoder with random weights, and an encoder where one is wanted."""
    tasks: tuple[Task, ...] = ("decode", "encode") if encoder else ("decode",)
    shapes = shapes_of(config, tasks)
    weights = {name: _random(name, shape).astype(DTYPES[dtype]) for name, shape in shapes.items()}
    mx.eval(weights)
    return VAE(config, weights, DTYPES[dtype])


def _random(name: str, shape: tuple[int, ...]) -> mx.array:
    """Return weights that keep the variance, norms of ones, and biases of zeros."""
    if len(shape) > 1:
        weight: mx.array = mx.random.normal(shape) * prod(shape[1:]) ** -0.5
        return weight
    return mx.zeros(shape) if name.endswith("bias") else mx.ones(shape)


def random_latents(config: VAEConfig, height: int, width: int, batch: int = 1) -> np.ndarray:
    """Return latents (B, C, h, w) of a picture of this size."""
    shape = (batch, config.latents.channels, height // config.cell, width // config.cell)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def least_budget(vae: VAE, latents: np.ndarray, **options: Any) -> int:
    """Return the smallest budget in bytes that works for a decode."""
    try:
        vae.decode(latents, budget="1B", **options)
    except BudgetError as error:
        return error.needed
    raise AssertionError("one byte was enough")


def product_flops(dtype: mx.Dtype, side: int = PRODUCT, seconds: float = 2.0) -> float:
    """Return the floating-point operations a second of MLX's matrix product, the best of some."""
    a, b = (mx.random.normal((side, side)).astype(dtype) for _ in range(2))
    mx.eval(a, b)
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        mx.eval(a @ b)
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def _rows(end: float, progress: Callable[[str], None]) -> Iterator[Row]:
    for name in ("float32", "bfloat16"):
        progress(f"matrix products in {name}")
        work = 2.0 * PRODUCT**3
        taken = work / product_flops(DTYPES[name], PRODUCT)
        yield Row("limit", f"matrix product of {PRODUCT}", "–", 0, 0, name, seconds=taken, flops=work)
    config = config_of("z-image")
    vae = random_vae(config, "bfloat16")
    taken = 0.0
    for pixels in SIZES:
        if time.monotonic() + 4 * 5 * taken > end:  # four times the pixels, three runs and two in the least budget
            return
        progress(f"{pixels}x{pixels}")
        latents = random_latents(config, pixels, pixels)
        least = least_budget(vae, latents)
        for budget, runs in ((AMPLE, 3), (least, 2)):
            row = _measured(vae, latents, budget, runs)
            taken = max(taken, row.seconds or 0.0) if budget == AMPLE else taken
            yield row


def _measured(vae: VAE, latents: np.ndarray, budget: int, runs: int) -> Row:
    """Decode some times."""
    reports = [vae.decode(latents, "np", budget=f"{budget}B", return_report=True)[1] for _ in range(runs)]
    times = [report.seconds for report in reports]
    plan: Plan = reports[0].plan
    return Row(
        "self",
        "zvae_tiled",
        "z-image",
        *plan.case.pixels,
        plan.case.dtype,
        budget=None if budget == AMPLE else budget,
        plan=plan.digest,
        predicted_peak=plan.predicted_peak,
        allocator_peak=max(report.measured_peak for report in reports),
        footprint=max(report.footprint for report in reports),
        seconds=statistics.median(times),
        spread=(min(times), max(times)),
        runs=runs,
        rounds=tuple(times),
        flops=plan.predicted_flops,
        environment={"device": device_kind()},
    )


def _plain(row: Row) -> dict[str, Any]:
    """Return the fields that say something."""
    return {name: value for name, value in asdict(row).items() if value not in (None, "", {}, ())}
