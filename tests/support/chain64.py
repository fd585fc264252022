"""Any Chain in float64, in plain NumPy: the judge of the bands of families that `float64.py` does not know.

It shares the list of Steps with the package, and no arithmetic. One picture at a time, (height, width, channels).
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from tests.support.float64 import Array, Weights, convolve, silu, widened
from zvae_tiled import VAE
from zvae_tiled.chain import Chain, Norm, Skip, Step


def chain64(vae: VAE, chain: Chain, ready: mx.array) -> Array:
    """Run a Chain over inputs (B, H, W, C) as this VAE's type holds them."""
    weights = {name: widened(array) for name, array in vae.weights.items()}
    return np.stack([_run(chain, weights, picture) for picture in widened(ready)])


def _run(chain: Chain, weights: Weights, x: Array) -> Array:
    skip = x
    for step in chain.steps:
        skip = x if step.opens else skip
        y = x if step.norm is None else _normal(step.norm, weights, x)
        y = {"none": y, "silu": silu(y), "relu": np.maximum(y, 0)}[step.activation]
        y = _attention(step, weights, y) if step.kind == "attention" else _convolution(step, weights, y)
        x = y if step.closes is None else y + _aside(step.closes, weights, skip)
    return x


def _normal(norm: Norm, weights: Weights, x: Array) -> Array:
    if norm.kind == "rms":
        length = np.sqrt(np.square(x).sum(-1, keepdims=True))
        return np.asarray(x / np.maximum(length, norm.eps) * np.sqrt(x.shape[-1]) * weights[f"{norm.name}.gamma"])
    grouped = x.reshape(-1, norm.groups, x.shape[-1] // norm.groups)
    mean, variance = grouped.mean((0, 2), keepdims=True), grouped.var((0, 2), keepdims=True)
    normal = ((grouped - mean) / np.sqrt(variance + norm.eps)).reshape(x.shape)
    return np.asarray(normal * weights[f"{norm.name}.weight"] + weights[f"{norm.name}.bias"])


def _convolution(step: Step, weights: Weights, x: Array) -> Array:
    if step.upsample:
        x = x.repeat(2, axis=0).repeat(2, axis=1)
    y = convolve(weights, step.name, x)
    first = step.halo - step.zeros.before  # a window that begins later is that of a later pixel
    return y[first :: step.stride, first :: step.stride]


def _attention(step: Step, weights: Weights, x: Array) -> Array:
    tokens = x.reshape(-1, x.shape[-1])
    queries, keys, values, out = (
        (weights[f"{step.name}.{part}.weight"], weights[f"{step.name}.{part}.bias"])
        for part in ("to_q", "to_k", "to_v", "to_out.0")
    )
    query, key, value = (tokens @ weight.T + bias for weight, bias in (queries, keys, values))
    scores = query @ key.T / np.sqrt(x.shape[-1])
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    attended = chances @ value / chances.sum(axis=1, keepdims=True)
    return np.asarray((attended @ out[0].T + out[1]).reshape(x.shape))


def _aside(closes: Skip, weights: Weights, skip: Array) -> Array:
    skip = np.maximum(skip, 0) if closes.relu else skip
    return skip if closes.shortcut is None else convolve(weights, closes.shortcut, skip)
