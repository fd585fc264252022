"""Decoder and encoder as flat lists of Steps, without a family and without weights. No MLX but in `whole`."""

from zvae_tiled.chain.chain import Chain
from zvae_tiled.chain.spread import Spread
from zvae_tiled.chain.step import ATTENTION, DOUBLE, HALVE, SAME, Norm, Padding, Resample, Shape, Skip, Step
from zvae_tiled.chain.video import Segment, doubling, earlier, segments

__all__ = [
    "ATTENTION",
    "DOUBLE",
    "HALVE",
    "SAME",
    "Chain",
    "Norm",
    "Padding",
    "Resample",
    "Segment",
    "Shape",
    "Skip",
    "Spread",
    "Step",
    "doubling",
    "earlier",
    "segments",
]
