"""Counts the operations of a decode, and the least memory that it needs, from shapes alone."""

from __future__ import annotations

from zvae_tiled.devices.mlx_gpu.memory import CUDA
from zvae_tiled.families import VAEConfig
from zvae_tiled.planner.budget import Budget
from zvae_tiled.planner.case import ITEMSIZES, Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact


def full_flops(config: VAEConfig, height: int, width: int) -> int:
    """Return the operations of a full decode of latents of this size. CUDA's plan is used: it folds no upsampling."""
    limit = Budget(1 << 62, "ample")
    case = Case(config, height, width, CUDA.name, output="rows")
    return make_plan(case, Exact(), limit, CUDA).pixels.needed_flops


def attention_flops(config: VAEConfig, height: int, width: int) -> int:
    """Return the operations that grow with the square of the pixels: scores and weighted sums of the attention."""
    chain = config.chain("decode")
    return sum(4 * step.inputs * (height * width) ** 2 for step in chain.steps if step.kind == "attention")


def memory_floor(config: VAEConfig, width: int, dtype: str) -> int:
    """Return weights, two one-row bands of the widest map, and one row of the picture, in bytes.

    No decoder that computes rows from rows can use less, at any height.
    """
    chain, itemsize = config.chain("decode"), ITEMSIZES[dtype]
    weights = chain.parameters * itemsize
    widest = max(width * factor * step.inputs for step, factor in zip(chain.steps, chain.factors, strict=False))
    return weights + 2 * widest * itemsize + 4 * width * config.scale * config.picture_channels
