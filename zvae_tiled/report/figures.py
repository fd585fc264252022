"""Measures this machine in some minutes, and writes the figures to a file that its owner may send.

It decodes with random weights of Z-Image's size. Nothing is downloaded, no file of the user is read, and the result
contains no user name, no host name and no path. `benchmarks/` uses the same `Row`, and reads such files.
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
"""Rows and columns of the matrices of the product that measures the machine's ceiling."""

AMPLE = 1 << 50
"""A budget that no decode exceeds on any machine."""


@dataclass(frozen=True)
class Row:
    """One measurement, in bytes, seconds and pixels.

    Attributes:
        suite: The suite of the measurement.
        tool: The tool that decoded.
        family: The VAE: a preset, and its widths if they differ from the published ones.
        batch: Pictures in the batch.
        height: Height of a picture.
        width: Width of a picture.
        dtype: Type of the weights.
        quality: ``exact``, or another quality with its options.
        budget: The budget; None if it was ample, or if the tool has none.
        plan: Digest of the plan.
        predicted_peak: The most memory that the plan predicts.
        predicted_seconds: The time that the plan predicts on an idle machine.
        allocator_peak: Peak of counted memory, MLX's and that of native kernels, weights and latents included.
        footprint: High-water mark of the process, minus its size before the weights were loaded.
        seconds: Median of the runs.
        spread: Shortest and longest run.
        runs: Number of runs.
        rounds: Seconds of each run, in order. Tools take turns, so that runs of one round meet the same noise.
        flops: Multiplications and additions of the decode.
        disk: The most bytes of spilled maps.
        max_error: Largest difference to the reference, as a share of the reference's range.
        psnr: Signal-to-noise ratio against the reference, in dB.
        shift: The largest change of a tile's mean colour, as a share of the reference's range.
        seams: Seam score, and the score of the reference at the same places.
        outcome: ``ok``, or the reason why there are no figures.
        note: A remark for the reader.
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
    predicted_seconds: float | None = None
    allocator_peak: int | None = None
    footprint: int | None = None
    seconds: float | None = None
    spread: tuple[float, float] | None = None
    runs: int = 0
    rounds: tuple[float, ...] = ()
    flops: float | None = None
    disk: int | None = None
    max_error: float | None = None
    psnr: float | None = None
    shift: float | None = None
    seams: tuple[float, float] | None = None
    outcome: str = "ok"
    note: str = ""
    environment: dict[str, Any] = field(default_factory=dict)


def self_benchmark(seconds: float = 300.0, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Measure this machine: its ceiling in matrix products, and exact decodes in an ample and in the smallest budget.

    Pictures grow from 256² to 2048². Sizes that would not finish in time are skipped.

    Args:
        seconds: Approximate limit on the whole time.
        progress: Called with a line of text before each measurement. Default: no calls.
    """
    end = time.monotonic() + seconds
    where = {**environment(device_kind()), "device_name": device_name()}
    rows: list[Row] = []
    for row in _rows(end, progress or (lambda _: None)):
        rows.append(row)
    return {"format": 1, "environment": where, "rows": [_plain(row) for row in rows]}


def write(figures: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the figures of `self_benchmark` as JSON. The file appears whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(Path(path), json.dumps(figures, indent=1) + "\n")


def random_vae(config: VAEConfig, dtype: str, encoder: bool = False) -> VAE:
    """Return a VAE with random weights: a decoder, and with `encoder` an encoder too."""
    tasks: tuple[Task, ...] = ("decode", "encode") if encoder else ("decode",)
    shapes = shapes_of(config, tasks)
    weights = {name: _random(name, shape).astype(DTYPES[dtype]) for name, shape in shapes.items()}
    mx.eval(weights)
    return VAE(config, weights, DTYPES[dtype])


def _random(name: str, shape: tuple[int, ...]) -> mx.array:
    """Return random weights that keep the variance of their input. Norms are ones, and biases zeros."""
    if len(shape) > 1:
        weight: mx.array = mx.random.normal(shape) * prod(shape[1:]) ** -0.5
        return weight
    return mx.zeros(shape) if name.endswith("bias") else mx.ones(shape)


def random_latents(config: VAEConfig, height: int, width: int, batch: int = 1) -> np.ndarray:
    """Return random latents (B, C, h, w) for pictures of this size."""
    channels, grain = config.latents.returned
    shape = (batch, channels, height // config.cell * grain, width // config.cell * grain)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def least_budget(vae: VAE, latents: np.ndarray, **options: Any) -> int:
    """Return the smallest budget in bytes that works for a decode."""
    try:
        vae.decode(latents, budget="1B", **options)
    except BudgetError as error:
        return error.needed
    raise AssertionError("one byte was enough")


def product_flops(dtype: mx.Dtype, side: int = PRODUCT, seconds: float = 2.0) -> float:
    """Return the floating-point operations per second of MLX's matrix product, the best of several runs."""
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
        if time.monotonic() + 4 * 5 * taken > end:  # this size has four times the pixels, and five runs
            return
        progress(f"{pixels}x{pixels}")
        latents = random_latents(config, pixels, pixels)
        least = least_budget(vae, latents)
        for budget, runs in ((AMPLE, 3), (least, 2)):
            row = measured(vae, latents, budget, runs)
            taken = max(taken, row.seconds or 0.0) if budget == AMPLE else taken
            yield row


def measured(
    vae: VAE, latents: np.ndarray, budget: int, runs: int, suite: str = "self", family: str = "z-image"
) -> Row:
    """Decode `runs` times, and return the row."""
    reports = [vae.decode(latents, "np", budget=f"{budget}B", return_report=True)[1] for _ in range(runs)]
    times = [report.seconds for report in reports]
    plan: Plan = reports[0].plan
    return Row(
        suite,
        "zvae_tiled",
        family,
        *plan.case.pixels,
        plan.case.dtype,
        budget=None if budget == AMPLE else budget,
        plan=plan.digest,
        predicted_peak=plan.predicted_peak,
        predicted_seconds=plan.predicted_seconds,
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
    """Return the fields of a row that are not empty."""
    return {name: value for name, value in asdict(row).items() if value not in (None, "", {}, ())}
