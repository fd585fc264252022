"""Bands beside the model's full decode, or full encode: time and allocator peak, alternating in one process.

``python -m benchmarks.bands [encode] [pixels ...]``: a VAE of Z-Image's size with random weights, in bfloat16.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.machine import describe
from zvae_tiled import VAE, Plan, Report, VAEConfig
from zvae_tiled.chain import Task
from zvae_tiled.kernels.device import this_device

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS
from mlx.utils import tree_map

RUNS = 3

Full = Callable[[], mx.array]
Banded = Callable[[], Report]


def main(task: Task, sizes: list[int]) -> None:
    """Print the table."""
    vae = random_vae(task)
    print(f"{describe()}, {this_device().name}; {task}\n")
    print("| picture | full, s | full, MB | bands, s | bands, MB | predicted, MB | time | peak |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for pixels in sizes:
        plan = vae.plan(pixels, pixels, "64GB", task=task)
        whole, banded = decodes(vae, plan) if task == "decode" else encodes(vae, plan)
        runs = [(measure(whole, vae.weight_bytes), reported(banded)) for _ in range(RUNS)]
        full, bands = (
            (statistics.median(run[side][0] for run in runs), max(run[side][1] for run in runs)) for side in (0, 1)
        )
        print(
            f"| {pixels}² | {full[0]:.1f} | {full[1]:,.0f} | {bands[0]:.1f} | {bands[1]:,.0f} "
            f"| {plan.predicted_peak / 1e6:,.0f} | {bands[0] / full[0]:.2f}× | {bands[1] / full[1]:.2f}× |",
            flush=True,
        )


def random_vae(task: Task) -> VAE:
    """A decoder alone, or a decoder and an encoder."""
    from zvae_tiled.model import AutoencoderKL, DecoderOnly

    config = VAEConfig.preset("z-image")
    model = DecoderOnly(config) if task == "decode" else AutoencoderKL(config)
    model.update(tree_map(lambda array: array.astype(mx.bfloat16), model.parameters()))
    mx.eval(model.parameters())
    return VAE(config, model, mx.bfloat16)


def decodes(vae: VAE, plan: Plan) -> tuple[Full, Banded]:
    """The full decode of random latents, and the banded one."""
    latents = np.random.default_rng(0).standard_normal((1, 16, plan.height, plan.width)).astype(np.float32)
    ready = mx.array(latents.transpose(0, 2, 3, 1)).astype(mx.bfloat16)
    return lambda: vae.model.decode(ready), lambda: vae.decode(latents, "NCHW", plan=plan, return_report=True)[1]


def encodes(vae: VAE, plan: Plan) -> tuple[Full, Banded]:
    """The full encode of a random picture, and the banded one."""
    from zvae_tiled.encoding import ready_image
    from zvae_tiled.model import AutoencoderKL

    model = vae.model
    assert isinstance(model, AutoencoderKL)
    shape = (1, plan.height * plan.config.scale, plan.width * plan.config.scale, 3)
    images = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    ready = ready_image(mx.array(images), mx.bfloat16)
    return lambda: model.encode(ready), lambda: vae.encode(images, plan=plan, return_report=True)[1]


def measure(work: Full, weights: int) -> tuple[float, float]:
    """Return seconds, and MB at the allocator's peak, of what was there before the weights alone."""
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    start = time.perf_counter()
    mx.eval(work())
    return time.perf_counter() - start, (weights + mx.get_peak_memory() - before) / 1e6


def reported(work: Banded) -> tuple[float, float]:
    """Return seconds and MB likewise; the report knows the peak, whose counter the run sets back on its way."""
    report = work()
    return report.seconds, report.measured_peak / 1e6


if __name__ == "__main__":
    chosen: Task = "encode" if "encode" in sys.argv[1:] else "decode"
    main(chosen, [int(pixels) for pixels in sys.argv[1:] if pixels != "encode"] or [128, 256, 512])
