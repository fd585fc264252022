"""Local Steps between native kernels: MLX computes them, row by row."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices import local
from zvae_tiled.devices.counted import room
from zvae_tiled.devices.evaluated import now, viewed
from zvae_tiled.devices.native_cpu.arrays import NUMPY, Rows, mlx_of

_AS_IT_IS = Step("as it is", "conv", 1, 1, kernel=1)
"""Reads rows without an activation."""


def computed_rows(
    step: Step, weights: Mapping[str, mx.array], pieces: list[Rows], skip: list[Rows] | None, dtype: mx.Dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Compute a local Step. Return its rows, and the smallest and the largest sum of each, before the skip."""
    rows, width = sum(piece.stop - piece.first for piece in pieces), pieces[0].width
    count = step.gives(rows)
    out = room((1, count, width, step.outputs), NUMPY[dtype])
    extent, window = np.empty((2, count)), deque[mx.array](maxlen=step.kernel)
    beside = _each(skip or [])
    for row, piece in enumerate(_each(pieces), 1 - step.kernel):
        window.append(now(activated(piece, step))[0])
        if row < 0:
            continue
        y = local.computed(step, weights, window[0] if len(window) == 1 else now(mx.concatenate([*window])))
        extent[:, row] = np.asarray(now(mx.stack([mx.min(y), mx.max(y)])))
        if skip is not None:
            y = now(y + now(activated(next(beside), _AS_IT_IS))[0])
        y = now(y.astype(dtype))
        out[:, row] = np.asarray(viewed(y, mx.uint16) if dtype == mx.bfloat16 else y)
    return out, extent


def activated(piece: Rows, step: Step) -> mx.array:
    """Return a piece as the Step reads it, for a local Step or for the guard."""
    if piece.array is None:
        return mx.zeros((1, piece.stop - piece.first, piece.width, step.inputs))
    rows = mlx_of(piece.array[:, piece.first : piece.stop]).astype(mx.float32)
    if piece.affine is not None:
        scale, shift, mean = map(mx.array, piece.affine)
        if step.rms is not None:
            rows = rows / mx.maximum(mx.linalg.norm(rows, axis=-1, keepdims=True), step.rms)
        rows = (rows - mean) * scale + shift
    if step.activation == "silu":
        rows = rows / (1.0 + mx.exp(-rows))
    return mx.maximum(rows, 0) if step.activation == "relu" else rows


def _each(pieces: list[Rows]) -> Iterator[Rows]:
    """Yield the pieces row by row."""
    return (replace(piece, first=row, stop=row + 1) for piece in pieces for row in range(piece.first, piece.stop))
