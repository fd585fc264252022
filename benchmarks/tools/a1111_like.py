"""Tiles like the best-known "Tiled VAE" extension of A1111's web UI, re-implemented on diffusers' decoder.

Tiles have 64 latents (the extension's size for CPUs) and 11 latents of context, which is cut off afterwards. All tiles
go through the decoder in step. At each norm, their means and variances are averaged by area, which ignores how far the
tiles' means are apart. Attention stays inside a tile. The extension's "fast decoder", which estimates the norms from a
small picture, is not implemented here.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional

from benchmarks.case import Case, Files, Sample
from benchmarks.tools.torch_vae import Decode, measure_with

TILE, CONTEXT = 64, 11

Walk = Generator[tuple[Any, Any], Any, Any]
"""A generator that decodes a tile. It yields each norm and its input, and receives the normalised map."""


def measure(case: Case, files: Files) -> Sample:
    """Decode."""
    scale = case.config.scale
    height, width = case.height // scale, case.width // scale
    if max(height, width) <= TILE + 2 * CONTEXT:
        return Sample(outcome="does not tile at this size: as the full decode")

    def together(model: Any) -> Decode:
        return lambda latents: in_step(model.decoder, latents, scale)

    sample = measure_with(case, files, together)
    sample.seams = ([at * scale for at in cuts(height)], [at * scale for at in cuts(width)])
    sample.flops = None
    return sample


def in_step(decoder: Any, latents: Any, scale: int) -> Any:
    """Decode all tiles. At each norm, a tile waits until every tile has reached it."""
    height, width = latents.shape[2:]
    picture = torch.zeros((1, 3, height * scale, width * scale))
    rows, columns = ((0, *cuts(length), length) for length in (height, width))
    tiles = [(a, b, c, d) for a, b in pairwise(rows) for c, d in pairwise(columns)]
    around = [
        (max(0, a - CONTEXT), min(height, b + CONTEXT), max(0, c - CONTEXT), min(width, d + CONTEXT))
        for a, b, c, d in tiles
    ]
    walks = [walk(decoder, latents[:, :, a:b, c:d]) for a, b, c, d in around]
    waiting = [next(one) for one in walks]
    while True:
        norm = waiting[0][0]
        mean, variance = averaged(norm, [values for _, values in waiting])
        for i, one in enumerate(walks):
            values, waiting[i] = waiting[i][1], (None, None)
            try:
                waiting[i] = one.send(normalised(norm, values, mean, variance))
            except StopIteration as end:
                (a, b, c, d), (top, _, left, _) = tiles[i], around[i]
                inner = end.value[..., (a - top) * scale : (b - top) * scale, (c - left) * scale : (d - left) * scale]
                picture[..., a * scale : b * scale, c * scale : d * scale] = inner.float()
        if waiting[0][0] is None:
            return picture


def cuts(length: int) -> list[int]:
    """Return where tiles meet, in latents. Tiles have equal sizes, up to rounding."""
    count = -(-length // TILE)
    return [round(i * length / count) for i in range(1, count)]


def averaged(norm: Any, maps: list[Any]) -> tuple[Any, Any]:
    """Return mean and variance of each group, averaged over the tiles by their areas."""
    shares = torch.tensor([float(values[0, 0].numel()) for values in maps])
    weights = (shares / shares.sum())[:, None]
    # One tile at a time: float32 copies of all tiles would take more memory than the maps.
    pairs = [torch.var_mean(each.float().reshape(norm.num_groups, -1), 1, correction=0) for each in maps]
    variance, mean = ((torch.stack(each) * weights).sum(0) for each in zip(*pairs, strict=True))
    return mean, variance


def normalised(norm: Any, values: Any, mean: Any, variance: Any) -> Any:
    """Apply a norm with this mean and variance."""
    each = values.shape[1] // norm.num_groups
    scale = norm.weight * torch.rsqrt(variance + norm.eps).repeat_interleave(each)
    shift = norm.bias - mean.repeat_interleave(each) * scale
    return values * scale.to(values.dtype)[:, None, None] + shift.to(values.dtype)[:, None, None]


def walk(decoder: Any, latents: Any) -> Walk:
    """Run the decoder, and stop at each norm."""
    x = decoder.conv_in(latents)
    x = yield from resnet(decoder.mid_block.resnets[0], x)
    x = yield from attention(decoder.mid_block.attentions[0], x)
    x = yield from resnet(decoder.mid_block.resnets[1], x)
    for block in decoder.up_blocks:
        for each in block.resnets:
            x = yield from resnet(each, x)
        for each in block.upsamplers or ():
            x = each(x)
    x = yield decoder.conv_norm_out, x
    return decoder.conv_out(functional.silu(x))


def resnet(block: Any, x: Any) -> Walk:
    """Run one resnet, and stop at each norm."""
    h = yield block.norm1, x
    h = block.conv1(functional.silu(h))
    h = yield block.norm2, h
    h = block.conv2(functional.silu(h))
    return (block.conv_shortcut(x) if block.conv_shortcut is not None else x) + h


def attention(block: Any, x: Any) -> Walk:
    """Run the attention, and stop at its norm."""
    normal = yield block.group_norm, x
    tokens = normal.flatten(2).transpose(1, 2)
    queries, keys, values = block.to_q(tokens), block.to_k(tokens), block.to_v(tokens)
    attended = functional.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None])[:, 0]
    return x + block.to_out[0](attended).transpose(1, 2).reshape(x.shape)
