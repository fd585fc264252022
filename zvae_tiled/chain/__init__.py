"""The decoder as a flat list of Steps, built from the config alone; one builder a family."""

from zvae_tiled.chain.autoencoder_kl import decoder_chain
from zvae_tiled.chain.step import Chain, Step

__all__ = ["Chain", "Step", "decoder_chain"]
