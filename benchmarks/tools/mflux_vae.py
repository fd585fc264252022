"""mflux's own VAE from its wheel, on the same MLX and the same BLAS. Option ``mode``: ``strips`` or ``tiles``.

Strips are mflux's ``low_memory`` mode, always in bfloat16, with all keys of the attention at once. Tiles have mflux's
defaults (512 pixels, 64 shared, cosine).
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import Footprint
from benchmarks.weights import WEIGHTS
from benchmarks.work import full_flops
from zvae_tiled.devices.blas import preload

preload()

import mlx.core as mx  # noqa: E402, the BLAS must be loaded first
from mflux.models.common.vae.tiling_config import TilingConfig  # noqa: E402
from mflux.models.common.vae.vae_util import VAEUtil  # noqa: E402
from mflux.models.z_image.model.z_image_vae import VAE as MfluxVAE  # noqa: E402

WRAPPED = {
    "decoder.conv_in.": "decoder.conv_in.conv.",
    "decoder.conv_norm_out.": "decoder.conv_norm_out.norm.",
    "decoder.conv_out.": "decoder.conv_out.conv.",
}
"""Layers that mflux wraps in another layer, by the start of their names."""


def measure(case: Case, files: Files) -> Sample:
    """Decode."""
    tiling = TilingConfig() if case.options["mode"] == "tiles" else None
    if tiling is not None and max(case.height, case.width) <= tiling.vae_decode_tile_size:
        return Sample(outcome="does not tile at this size: as the full decode")
    footprint = Footprint()
    model = loaded(files)
    if tiling is None:
        model.decode_mode = "low_memory"
    latents = mx.array(np.load(files.latents or "")).astype(mx.bfloat16)
    mx.eval(latents, VAEUtil.decode(model, latents[:, :, :8, :8], tiling))
    mx.clear_cache()
    footprint.forget()
    mx.reset_peak_memory()
    start = time.perf_counter()
    picture = VAEUtil.decode(model, latents, tiling)
    mx.eval(picture)
    taken = time.perf_counter() - start
    sample = Sample(seconds=taken, footprint=footprint.grown(), allocator_peak=mx.get_peak_memory())
    if tiling is None:
        sample.flops = full_flops(case.config, *latents.shape[2:])
    else:
        step = tiling.vae_decode_tile_size - tiling.vae_decode_overlap * 8
        middle = tiling.vae_decode_overlap * 8 // 2
        down, across = ([at + middle for at in range(step, length, step)] for length in (case.height, case.width))
        sample.seams = (down, across)
    if files.picture:
        values = np.asarray(picture.astype(mx.float32))
        np.save(files.picture, values.reshape(1, 3, case.height, case.width).transpose(0, 2, 3, 1))
    return sample


def loaded(files: Files) -> MfluxVAE:
    """Return mflux's model with the weights of the file, which has diffusers' names."""
    model = MfluxVAE()
    model.encoder = None
    named = []
    stored: dict[str, mx.array] = mx.load(str(Path(files.model or "") / WEIGHTS))  # type: ignore[assignment]
    for name, array in stored.items():
        if not name.startswith("decoder."):
            continue
        for theirs, wrapped in WRAPPED.items():
            if name.startswith(theirs):
                name = wrapped + name.removeprefix(theirs)
        named.append((name, array.transpose(0, 2, 3, 1) if array.ndim == 4 else array))
    model.load_weights(named)
    mx.eval(model.parameters())
    return model
