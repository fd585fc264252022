"""Decode without any download: a small VAE with random weights, random latents, a picture in ``decoded.png``.

With a real VAE it is the same: ``VAE.load("path/to/vae")`` and ``vae.decode(latents, budget="6GB")``.
"""

import tempfile
from pathlib import Path

import numpy as np

from zvae_tiled import VAE, VAEConfig
from zvae_tiled.model import AutoencoderKL

import mlx.core as mx  # isort: skip, after zvae_tiled, which may load a faster BLAS first
from mlx.utils import tree_flatten

config = VAEConfig(latent_channels=16, block_out_channels=(32, 32, 64, 64), layers_per_block=2)

with tempfile.TemporaryDirectory() as folder:
    weights = Path(folder) / "ae.safetensors"
    mx.save_safetensors(str(weights), dict(tree_flatten(AutoencoderKL(config).parameters())))
    vae = VAE.load(weights, config=config)

latents = np.random.default_rng(0).standard_normal((1, 16, 64, 96)).astype(np.float32)
plan = vae.plan(height=512, width=768, budget="64MiB")
print(plan, end="\n\n")
(picture,), report = vae.decode(latents, plan=plan, output_type="pil", progress=True, return_report=True)
picture.save("decoded.png")
print(report)
print(f"\ndecoded.png: {picture.width}x{picture.height} pixels")
