"""The banded decode beside the model's full decode: time and allocator peak, alternating in one process.

``python -m benchmarks.bands [pixels ...]``: a decoder of Z-Image's size with random weights, in bfloat16.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.machine import describe
from zvae_tiled import VAE, VAEConfig
from zvae_tiled.kernels.device import this_device

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS
from mlx.utils import tree_map

RUNS = 3


def main(sizes: list[int]) -> None:
    """Print the table."""
    from zvae_tiled.model import DecoderOnly

    config = VAEConfig.preset("z-image")
    model = DecoderOnly(config)
    model.update(tree_map(lambda array: array.astype(mx.bfloat16), model.parameters()))
    mx.eval(model.parameters())
    vae = VAE(config, model, mx.bfloat16)
    print(f"{describe()}, {this_device().name}\n")
    print("| picture | full, s | full, MB | bands, s | bands, MB | predicted, MB | time | peak |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for pixels in sizes:
        latents = np.random.default_rng(0).standard_normal((1, 16, pixels // 8, pixels // 8)).astype(np.float32)
        ready = mx.array(latents.transpose(0, 2, 3, 1)).astype(mx.bfloat16)
        plan = vae.plan(pixels, pixels, "64GB")
        whole = partial(vae.model.decode, ready)
        banded = partial(vae.decode, latents, "NCHW", plan=plan)
        runs = [(measure(whole), measure(banded)) for _ in range(RUNS)]
        weights = vae.weight_bytes / 1e6
        full, bands = (
            (statistics.median(run[side][0] for run in runs), weights + max(run[side][1] for run in runs))
            for side in (0, 1)
        )
        print(
            f"| {pixels}² | {full[0]:.1f} | {full[1]:,.0f} | {bands[0]:.1f} | {bands[1]:,.0f} "
            f"| {plan.predicted_peak / 1e6:,.0f} | {bands[0] / full[0]:.2f}× | {bands[1] / full[1]:.2f}× |",
            flush=True,
        )


def measure(work: Callable[[], mx.array]) -> tuple[float, float]:
    """Return seconds, and MB at the allocator's peak beyond what was there."""
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    start = time.perf_counter()
    mx.eval(work())
    return time.perf_counter() - start, (mx.get_peak_memory() - before) / 1e6


if __name__ == "__main__":
    main([int(pixels) for pixels in sys.argv[1:]] or [128, 256, 512])
