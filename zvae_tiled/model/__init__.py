"""The reference model in plain MLX modules: the place to read the architecture, and what the engine is judged by."""

from zvae_tiled.model.autoencoder import AutoencoderKL, DecoderOnly, LatentDistribution
from zvae_tiled.model.decoder import Decoder
from zvae_tiled.model.encoder import Encoder

__all__ = ["AutoencoderKL", "Decoder", "DecoderOnly", "Encoder", "LatentDistribution"]
