"""Decoder and encoder as flat lists of Steps, without a family and without weights. No MLX but in `whole`."""

from zvae_tiled.chain.chain import Chain
from zvae_tiled.chain.step import ATTENTION, DOUBLE, HALVE, SAME, Norm, Padding, Resample, Shape, Skip, Step

__all__ = ["ATTENTION", "DOUBLE", "HALVE", "SAME", "Chain", "Norm", "Padding", "Resample", "Shape", "Skip", "Step"]
