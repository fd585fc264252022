"""Decode without any download: a small VAE with random weights, random latents, a picture in ``decoded.png``.

With a real VAE it is the same two lines: ``VAE.load("path/to/vae")`` and ``vae.decode(latents)``.
"""

import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from zvae_tiled import VAE, VAEConfig
from zvae_tiled.model import AutoencoderKL

config = VAEConfig(latent_channels=16, block_out_channels=(32, 32, 64, 64), layers_per_block=2)

with tempfile.TemporaryDirectory() as folder:
    weights = Path(folder) / "ae.safetensors"
    mx.save_safetensors(str(weights), dict(tree_flatten(AutoencoderKL(config).parameters())))
    vae = VAE.load(weights, config=config)

latents = np.random.default_rng(0).standard_normal((1, 16, 32, 48)).astype(np.float32)
(picture,) = vae.decode(latents, output_type="pil")
picture.save("decoded.png")
print(f"decoded.png: {picture.width}x{picture.height} pixels")
