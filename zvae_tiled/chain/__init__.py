"""Decoder and encoder as flat lists of Steps, without a family and without weights; only `whole.py` needs MLX."""

from zvae_tiled.chain.step import ATTENTION, Chain, Norm, Shape, Step

__all__ = ["ATTENTION", "Chain", "Norm", "Shape", "Step"]
