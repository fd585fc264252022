"""Decoder and encoder as flat lists of Steps, built from the config alone; one builder a family."""

from zvae_tiled.chain.autoencoder_kl import Task, chain_of, decoder_chain, encoder_chain
from zvae_tiled.chain.step import ATTENTION, Chain, Norm, Step

__all__ = ["ATTENTION", "Chain", "Norm", "Step", "Task", "chain_of", "decoder_chain", "encoder_chain"]
