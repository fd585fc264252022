"""The reference model's full decode in MLX, on whole maps."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.tools.ours import latents_of, load
from benchmarks.work import full_flops
from zvae_tiled import VAE
from zvae_tiled.chain.whole import run_whole
from zvae_tiled.inputs.latent_space import unscale_latents

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS


def measure(case: Case, files: Files) -> Sample:
    """Decode."""
    footprint = Footprint()
    vae = load(case, files)
    latents = mx.array(latents_of(case, files).transpose(0, 2, 3, 1))
    ready = unscale_latents(latents, case.config.latents, vae.weights).astype(vae.dtype)
    del latents
    model = partial(run_whole, case.config.chain("decode"), vae.weights)
    sample, picture = timed(vae, model, ready, ready[:1, :8, :8], footprint)
    sample.flops = full_flops(case.config, *ready.shape[1:3]) * case.batch
    if files.picture:
        np.save(files.picture, np.asarray(picture.astype(mx.float32)))
    return sample


def timed(
    vae: VAE,
    model: Callable[[mx.array], mx.array],
    ready: mx.array,
    small: mx.array,
    footprint: Footprint,
) -> tuple[Sample, mx.array]:
    """Time a model, after a small run that starts threads. Return the sample and the model's result."""
    mx.eval(ready, model(small))
    mx.clear_cache()
    footprint.forget()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    start = time.perf_counter()
    result = model(ready)
    mx.eval(result)
    taken = time.perf_counter() - start
    peak = mx.get_peak_memory() - before + vae.weight_bytes + ready.nbytes
    return Sample(seconds=taken, footprint=footprint.grown(), allocator_peak=peak), result
