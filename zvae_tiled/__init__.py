"""Decode VAE latents of any size exactly as a full decode would, inside the memory you name."""

from zvae_tiled._version import __version__
from zvae_tiled.blas import preload

preload()  # before anything imports mlx.core: see blas.py

from zvae_tiled.config import VAEConfig  # noqa: E402
from zvae_tiled.model import LatentDistribution  # noqa: E402
from zvae_tiled.vae import VAE  # noqa: E402

__all__ = ["VAE", "LatentDistribution", "VAEConfig", "__version__"]
