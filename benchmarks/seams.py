"""Draws what tiles do to colours, by the code and the settings of diffusers and mflux: ``docs/seams.jpg``.

    .venv-peers/bin/python -m benchmarks.seams

The picture is the demo's album of 2048². Above: the exact decode, diffusers' tiles, mflux's tiles. Below: how far each
is from the exact decode, the mean of the three channels, amplified.
"""

from __future__ import annotations

from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

from benchmarks.machine import describe
from benchmarks.weights import SAMPLE_SIZE
from zvae_tiled import VAE, demo
from zvae_tiled.report.metrics import max_error, psnr

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS
from mflux.models.common.vae.tiling_config import TilingConfig  # isort: skip
from mflux.models.common.vae.vae_tiler import VAETiler  # isort: skip

PICTURE = Path(__file__).parents[1] / "docs" / "seams.jpg"
SIDE, AMPLIFIED = 400, 6


def main() -> None:
    """Decode three times, draw the picture, and print how far tiles are from the exact decode."""
    vae = VAE.demo("float32")
    latents = np.asarray(demo.latents("album"), np.float32)
    exact = vae.decode(latents, output_type="np")
    print(describe(), f"torch {torch.__version__}, diffusers {diffusers.__version__}")
    tiled = {"diffusers": diffusers_tiles(latents), "mflux": mflux_tiles(latents, vae)}
    for name, picture in tiled.items():
        print(f"{name}: {psnr(picture, exact):.1f} dB, max error {max_error(picture, exact):.2f}")
    pictures = [exact, *tiled.values()]
    above = [shrunk(picture[0]) for picture in pictures]
    below = [shrunk(difference(picture, exact)) for picture in pictures]
    Image.fromarray(np.vstack([np.hstack(above), np.hstack(below)])).save(PICTURE, quality=85, optimize=True)


def diffusers_tiles(latents: np.ndarray) -> np.ndarray:
    """Decode with diffusers' ``enable_tiling()``: its own overlap, and the tile of the VAEs of FLUX.1 and Z-Image."""
    model = diffusers.AutoencoderKL.from_pretrained(demo.FOLDER, low_cpu_mem_usage=False).eval()
    model.enable_tiling()
    model.tile_sample_min_size, model.tile_latent_min_size = SAMPLE_SIZE, SAMPLE_SIZE // 8
    ready = torch.from_numpy(latents) / model.config.scaling_factor + model.config.shift_factor
    with torch.inference_mode():
        return in_unit_range(model.decode(ready).sample.numpy())


def mflux_tiles(latents: np.ndarray, vae: VAE) -> np.ndarray:
    """Decode with mflux's `VAETiler` in its default settings. Each tile is decoded exactly."""

    def decode(tile: mx.array) -> mx.array:
        return mx.moveaxis(vae.decode(tile, raw=True), -1, 1)[:, :, None]

    settings, values = TilingConfig(), mx.array(latents)[:, :, None]
    size, overlap = settings.vae_decode_tile_size, settings.vae_decode_overlap * 8
    decoded = VAETiler.decode_image_tiled(
        latent=values, decode_fn=decode, tile_size=(size, size), tile_overlap=(overlap, overlap)
    )
    return in_unit_range(np.asarray(decoded).reshape(1, 3, latents.shape[2] * 8, latents.shape[3] * 8))


def in_unit_range(raw: np.ndarray) -> np.ndarray:
    """Return a decoder's own values (1, 3, H, W) as a picture (1, H, W, 3)."""
    return np.clip(raw.transpose(0, 2, 3, 1) / 2 + 0.5, 0, 1)


def difference(picture: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Return the mean distance of the channels as grey (H, W, 3)."""
    far = np.abs(picture - exact)[0].mean(-1, keepdims=True)
    return np.repeat(np.clip(AMPLIFIED * far, 0, 1), 3, axis=-1)


def shrunk(picture: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) of `SIDE` pixels, in levels."""
    levels = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    return np.asarray(levels.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
