"""The reference: a Chain on whole maps, in plain MLX. Read here what a VAE computes; bands are held to it.

Beside the papers (Rombach et al. 2022, appendix E): a Step is norm, activation, resampling and convolution, with a skip
around one or two of them; attention is one head over every pixel. Maps are (B, H, W, C).
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from zvae_tiled.chain import Chain, Norm, Step

QUERIES_AT_ONCE = 1024
"""Rows of the score matrix held at a time: 1,024 × 16,384 keys in float32 are 67 MB."""

Weights = Mapping[str, mx.array]


def run_whole(chain: Chain, weights: Weights, x: mx.array) -> mx.array:
    """Run all Steps of a Chain, each over the whole map.

    Args:
        chain: The decoder's Chain or the encoder's.
        weights: The weights by their names.
        x: Latents as the decoder reads them, or pictures in [-1, 1].

    Returns:
        What the last Step gives: a picture in about [-1, 1], or the moments of latents.
    """
    skips: list[mx.array] = []
    for step in chain.steps:
        if step.opens:
            skips.append(x)
        y = x if step.norm is None else NORMS[step.norm.kind](x, step.norm, weights)
        if step.activation == "silu":
            y = y * mx.sigmoid(y)  # nn.silu is compiled, for which MLX runs the system's C++ compiler on a CPU
        if step.activation == "relu":
            y = mx.maximum(y, 0)
        y = attention(step, weights, y) if step.kind == "attention" else convolution(step, weights, y)
        if step.closes:
            skip = mx.maximum(skips.pop(), 0) if step.closes.relu else skips.pop()
            if step.shortcut is not None:
                skip = mx.conv2d(skip, weights[f"{step.shortcut}.weight"]) + weights[f"{step.shortcut}.bias"]
            y = skip + y
        x = y
        mx.eval(x)  # what led to it is freed before the next Step starts
    return x


def group_norm(x: mx.array, norm: Norm, weights: Weights) -> mx.array:
    """Normalise over height, width and the channels of each group, with statistics in float32 whatever the type."""
    batch, height, width, channels = x.shape
    grouped = x.astype(mx.float32).reshape(batch, height * width, norm.groups, channels // norm.groups)
    mean = mx.mean(grouped, axis=(1, 3), keepdims=True)
    centred = grouped - mean  # two passes: E[x²] − E[x]² cancels in float32 where the mean is large
    variance = mx.mean(mx.square(centred), axis=(1, 3), keepdims=True)
    normal = (centred * mx.rsqrt(variance + norm.eps)).reshape(x.shape)
    return (normal * weights[f"{norm.name}.weight"] + weights[f"{norm.name}.bias"]).astype(x.dtype)


def rms_norm(x: mx.array, norm: Norm, weights: Weights) -> mx.array:
    """Divide the channels of each pixel by their length, in float32, and multiply by gamma and the length of ones."""
    wide = x.astype(mx.float32)
    length = mx.sqrt(mx.sum(mx.square(wide), axis=-1, keepdims=True))
    scale = weights[f"{norm.name}.gamma"].astype(mx.float32) * x.shape[-1] ** 0.5
    normal: mx.array = (wide / mx.maximum(length, norm.eps) * scale).astype(x.dtype)
    return normal


NORMS = {"group": group_norm, "rms": rms_norm}


def convolution(step: Step, weights: Weights, x: mx.array) -> mx.array:
    """Double the map if the Step does, pad it with zeros, and convolve it."""
    if step.upsample:
        x = mx.repeat(mx.repeat(x, 2, axis=1), 2, axis=2)
    before, after = step.zeros
    if before != after:
        x = mx.pad(x, [(0, 0), (before, after), (before, after), (0, 0)])
        before = 0
    weight, bias = weights[f"{step.name}.weight"], weights[f"{step.name}.bias"]
    return mx.conv2d(x, weight, stride=step.stride, padding=before) + bias


def attention(step: Step, weights: Weights, x: mx.array) -> mx.array:
    """Attend from every pixel to every pixel, some queries at a time."""
    batch, height, width, channels = x.shape
    tokens = x.reshape(batch, height * width, channels)
    queries, keys, values = (linear(f"{step.name}.{layer}", weights, tokens) for layer in ("to_q", "to_k", "to_v"))
    keys = keys.swapaxes(1, 2)
    attended = []
    for start in range(0, height * width, QUERIES_AT_ONCE):
        scores = (queries[:, start : start + QUERIES_AT_ONCE] * channels**-0.5) @ keys
        attended.append(mx.softmax(scores, axis=-1, precise=True) @ values)
        mx.eval(attended[-1])  # frees the scores before the next ones are made
    return linear(f"{step.name}.to_out.0", weights, mx.concatenate(attended, axis=1)).reshape(x.shape)


def linear(name: str, weights: Weights, x: mx.array) -> mx.array:
    """Multiply by a matrix, and add its bias."""
    return mx.addmm(weights[f"{name}.bias"], x, weights[f"{name}.weight"].T)
