"""Shrinks latents for a preview: each pixel becomes the mean of a square, with the spread of the whole restored."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from zvae_tiled.families import LatentConvention
from zvae_tiled.inputs.latent_space import packed, unpacked


def unchanged(latents: mx.array) -> mx.array:
    """Return the latents."""
    return latents


def shrunk(
    latents: mx.array,
    convention: LatentConvention,
    factor: int,
    scale: Callable[[mx.array], mx.array] = unchanged,
) -> mx.array:
    """Return a smaller map of a pipeline's latents, in float32.

    Averages are smoother than latents of a smaller picture would be, and decode into a pale one. So each channel gets
    the mean and the spread back that it has in the whole map.

    Args:
        latents: (B, h, w, C), packed if the convention packs.
        convention: Theirs.
        factor: Rows and columns of the map for one row and column of the smaller map. The last may stand for fewer.
        scale: What is done to a few rows of the latents (1, h, w, C) before they are averaged.
    """
    pictures = range(latents.shape[0])
    return mx.concatenate([_one(latents[picture], convention, factor, scale) for picture in pictures])


def _one(
    latents: mx.array, convention: LatentConvention, factor: int, scale: Callable[[mx.array], mx.array]
) -> mx.array:
    patch, (height, width, channels) = convention.patch, latents.shape
    own = channels // patch**2
    starts, counts = _runs(width, factor, patch)
    total, squares = np.zeros((2, own))
    bands = []
    for top in range(0, height, factor):
        band = unpacked(scale(latents[None, top : top + factor]), patch, convention.order)[0]
        rows = np.asarray(band.astype(mx.float32)).astype(np.float64)
        total, squares = total + rows.sum((0, 1)), squares + np.square(rows).sum((0, 1))
        columns = np.add.reduceat(rows, starts, axis=1) / counts[:, None]
        bands.append(columns.reshape(patch, -1, *columns.shape[1:]).mean(axis=1))
    small, count = np.concatenate(bands), height * width * patch**2
    spread = np.sqrt(np.maximum(squares / count - np.square(total / count), 0))
    flat = np.maximum(small.std((0, 1)), 1e-12)
    small = (small - small.mean((0, 1))) * spread / flat + total / count
    return packed(mx.array(small.astype(np.float32))[None], patch, convention.order)


def _runs(width: int, factor: int, patch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first column of each run that is averaged, and its columns."""
    lengths = np.minimum(factor, width - np.arange(0, width, factor)).repeat(patch)
    return np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths
