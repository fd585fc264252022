"""Decoder and encoder as flat lists of Steps, built from the config alone; one builder a family."""

from zvae_tiled.chain.autoencoder_kl import Task, chain_of, decoder_chain, encoder_chain
from zvae_tiled.chain.step import Chain, Step

__all__ = ["Chain", "Step", "Task", "chain_of", "decoder_chain", "encoder_chain"]
