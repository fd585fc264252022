"""Any Chain in float64, in plain NumPy: the judge of the bands of families that `float64.py` does not know.

It shares the list of Steps with the package, and no arithmetic. One picture at a time, (height, width, channels).
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from tests.support.float64 import Array, Weights, convolve, silu, widened
from zvae_tiled import VAE
from zvae_tiled.chain import Chain, Norm, Skip, Spread, Step


def chain64(vae: VAE, chain: Chain, ready: mx.array) -> Array:
    """Run a Chain over inputs (B, H, W, C) as this VAE's type holds them."""
    weights = {name: widened(array) for name, array in vae.weights.items()}
    return np.stack([_run(chain, weights, picture) for picture in widened(ready)])


def _run(chain: Chain, weights: Weights, x: Array) -> Array:
    skips: list[Array] = []
    for step in chain.steps:
        if step.joins:
            skips[-1] = skips[-1] + x
        skips += [x] if step.opens else []
        y = x if step.norm is None else normal64(step.norm, weights, x)
        y = {"none": y, "silu": silu(y), "relu": np.maximum(y, 0)}[step.activation]
        y = KINDS[step.kind](step, weights, y)
        x = y if step.closes is None else y + aside64(step.closes, weights, skips[-1])
        if step.closes is not None and not step.closes.stays:
            skips.pop()
    return x


def normal64(norm: Norm, weights: Weights, x: Array) -> Array:
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
    if step.parts:
        return np.asarray(x @ np.concatenate([weights[f"{part}.weight"] for part in step.parts]).T)
    y = convolve(weights, step.name, x)
    first = step.halo - step.zeros.before  # a window that begins later is that of a later pixel
    return y[first :: step.stride, first :: step.stride]


def attention64(step: Step, weights: Weights, x: Array) -> Array:
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


def aside64(closes: Skip, weights: Weights, skip: Array) -> Array:
    skip = np.maximum(skip, 0) if closes.relu else skip
    if closes.spread is not None:
        return _spread(closes.spread, skip)
    return skip if closes.shortcut is None else convolve(weights, closes.shortcut, skip)


def _spread(how: Spread, skip: Array) -> Array:
    """AvgDown3D and DupUp3D of diffusers on one frame, axis by axis; without frames and pixels, repeat or mean."""
    height, width, channels = skip.shape
    if how.up == 2:
        frames = np.repeat(skip, how.outputs * how.frames * 4 // channels, axis=2)
        split = frames.reshape(height, width, how.outputs, how.frames, 2, 2)[:, :, :, -1]
        return np.asarray(split).transpose(0, 3, 1, 4, 2).reshape(2 * height, 2 * width, how.outputs)
    if how.down == 2:
        cells = skip.reshape(height // 2, 2, width // 2, 2, channels).transpose(0, 2, 4, 1, 3)
        frames = np.zeros((*cells.shape[:3], how.frames, 2, 2))
        frames[:, :, :, -1] = cells
        return np.asarray(frames.reshape(height // 2, width // 2, how.outputs, -1).mean(-1))
    if how.outputs >= channels:
        return skip.repeat(how.outputs // channels, axis=2)
    return np.asarray(skip.reshape(height, width, how.outputs, -1).mean(-1))


def _shuffle(step: Step, weights: Weights, x: Array) -> Array:
    del weights
    y = np.zeros((x.shape[0] * step.factor // step.stride, x.shape[1] * step.factor // step.stride, step.outputs))
    large, small = (y, x) if step.upsample else (x, y)
    sizes = {"c": large.shape[2], "y": 2, "x": 2}
    for down, across, channel in np.ndindex(2, 2, large.shape[2]):
        place = {"c": channel, "y": down, "x": across}
        index = np.ravel_multi_index([place[axis] for axis in step.order], [sizes[axis] for axis in step.order])
        pixels, channels = large[down::2, across::2, channel], small[:, :, index]
        (pixels if step.upsample else channels)[...] = channels if step.upsample else pixels
    return y


def _rms(step: Step, weights: Weights, x: Array) -> Array:
    normal = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5)
    return np.asarray(normal * weights[f"{step.name}.weight"] + weights[f"{step.name}.bias"])


def _gated(step: Step, weights: Weights, x: Array) -> Array:
    y = _depthwise(weights[f"{step.name}.weight"], x) + weights[f"{step.name}.bias"]
    return np.asarray(y[..., : step.outputs] * silu(y[..., step.outputs :]))


def _scales(step: Step, weights: Weights, x: Array) -> Array:
    wide, mixers = _depthwise(weights[f"{step.name}.proj_in.weight"], x), weights[f"{step.name}.proj_out.weight"]
    mixed = [
        wide[..., first : first + step.head] @ mixers[first : first + step.head, 0, 0].T
        for first in range(0, step.inputs, step.head)
    ]
    return np.concatenate([x, *mixed], axis=2)


def _depthwise(weight: Array, x: Array) -> Array:
    kernel, (height, width, _) = weight.shape[1], x.shape
    padded, y = np.pad(x, [(kernel // 2, kernel // 2)] * 2 + [(0, 0)]), np.zeros_like(x)
    for down, across in np.ndindex(kernel, kernel):
        y += padded[down : down + height, across : across + width] * weight[:, down, across, 0]
    return y


def _linear(step: Step, weights: Weights, x: Array) -> Array:
    """Every pixel weighs every other: the definition, without the matrix that all keys and values are."""
    del weights
    attended = []
    for first in range(0, step.inputs, 3 * step.head):
        query, key, value = np.split(x[..., first : first + 3 * step.head].reshape(-1, 3 * step.head), 3, axis=1)
        shares = np.maximum(query, 0) @ np.maximum(key, 0).T
        attended.append(shares @ value / (shares.sum(1, keepdims=True) + 1e-15))
    return np.concatenate(attended, axis=1).reshape(*x.shape[:2], -1)


KINDS = {
    "attention": attention64,
    "conv": _convolution,
    "shuffle": _shuffle,
    "rms": _rms,
    "gated": _gated,
    "scales": _scales,
    "linear": _linear,
}
