"""The reference: a Chain on whole maps, in plain MLX. Read here what a VAE computes; bands are held to it.

Beside the papers (Rombach et al. 2022, appendix E): a Step is norm, activation, resampling and convolution, with a skip
around one or two of them, or around a whole block; attention is one head over every pixel. Maps are (B, H, W, C).
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from zvae_tiled.chain import Chain, Norm, Skip, Spread, Step
from zvae_tiled.chain.step import LINEAR_EPS, RMS_EPS, Order

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
        if step.joins:
            skips.append(skips.pop() + x)
        if step.opens:
            skips.append(x)
        y = x if step.norm is None else NORMS[step.norm.kind](x, step.norm, weights)
        if step.activation == "silu":
            y = y * mx.sigmoid(y)  # nn.silu is compiled, for which MLX runs the system's C++ compiler on a CPU
        if step.activation == "relu":
            y = mx.maximum(y, 0)
        y = KINDS[step.kind](step, weights, y)
        if step.closes:
            y = aside(step.closes, weights, skips[-1] if step.closes.stays else skips.pop()) + y
        x = y
        mx.eval(x)  # what led to it is freed before the next Step starts
    return x


def aside(closes: Skip, weights: Weights, skip: mx.array) -> mx.array:
    """Return a skip as it is added: behind ReLU, a 1×1 convolution, or a spread, if the Step asks for one."""
    if closes.relu:
        skip = mx.maximum(skip, 0)
    if closes.shortcut is not None:
        return mx.conv2d(skip, weights[f"{closes.shortcut}.weight"]) + weights[f"{closes.shortcut}.bias"]
    return skip if closes.spread is None else spread(closes.spread, skip)


def spread(how: Spread, skip: mx.array) -> mx.array:
    """Repeat values of a skip, or average them, until it has the output's shape."""
    if how.averages:
        values = unshuffled(skip, "cyx") if how.down == 2 else skip
        values = mx.pad(values.astype(mx.float32), [(0, 0), (0, 0), (0, 0), (0, 1)])  # the last channel is zeros
        return mx.mean(mx.take(values, mx.array(how.members), axis=-1), axis=-1).astype(skip.dtype)
    repeated = mx.take(skip, mx.array(how.sources.reshape(-1)), axis=-1)
    return repeated if how.up == 1 else shuffled(repeated, "yxc")


def shuffle(step: Step, weights: Weights, x: mx.array) -> mx.array:
    """Make channels pixels, or pixels channels."""
    del weights
    return shuffled(x, step.order) if step.upsample else unshuffled(x, step.order)


def shuffled(x: mx.array, order: Order) -> mx.array:
    """Make the channels of each pixel 2×2 pixels."""
    batch, height, width, channels = x.shape
    sizes = {"c": channels // 4, "y": 2, "x": 2}
    split = x.reshape(batch, height, width, *(sizes[axis] for axis in order))
    y, across, c = (3 + order.index(axis) for axis in "yxc")
    return split.transpose(0, 1, y, 2, across, c).reshape(batch, 2 * height, 2 * width, channels // 4)


def unshuffled(x: mx.array, order: Order) -> mx.array:
    """Make each 2×2 pixels the channels of one."""
    batch, height, width, channels = x.shape
    split = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    places = {"y": 2, "x": 4, "c": 5}
    listed = split.transpose(0, 1, 3, *(places[axis] for axis in order))
    return listed.reshape(batch, height // 2, width // 2, 4 * channels)


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
    bias = weights[f"{step.name}.bias"]
    if step.parts:
        return mx.addmm(bias, x, mx.concatenate([weights[f"{part}.weight"] for part in step.parts]).T)
    weight = weights[f"{step.name}.weight"]
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


def rms(step: Step, weights: Weights, x: mx.array) -> mx.array:
    """Divide the channels of each pixel by the root of their mean square, in float32."""
    wide = x.astype(mx.float32)
    normal = wide * mx.rsqrt(mx.mean(mx.square(wide), axis=-1, keepdims=True) + RMS_EPS)
    return (normal * weights[f"{step.name}.weight"] + weights[f"{step.name}.bias"]).astype(x.dtype)


def gated(step: Step, weights: Weights, x: mx.array) -> mx.array:
    """Convolve each channel by itself, and multiply half of them by SiLU of the others."""
    y = depthwise(x, weights[f"{step.name}.weight"]) + weights[f"{step.name}.bias"]
    values, gate = mx.split(y, 2, axis=-1)
    return values * (gate * mx.sigmoid(gate))


def scales(step: Step, weights: Weights, x: mx.array) -> mx.array:
    """Append the map as seen by larger windows: each channel convolved by itself, then each head's channels mixed."""
    wide = depthwise(x, weights[f"{step.name}.proj_in.weight"])
    groups = step.inputs // step.head
    mixers = weights[f"{step.name}.proj_out.weight"].reshape(groups, step.head, step.head)
    mixed = mx.einsum("bhwgi,goi->bhwgo", wide.reshape(*x.shape[:3], groups, step.head), mixers)
    return mx.concatenate([x, mixed.reshape(x.shape)], axis=-1)


def depthwise(x: mx.array, weight: mx.array) -> mx.array:
    """Convolve each channel by itself."""
    kernel = weight.shape[1]
    ends, (_, height, width, _) = (kernel // 2, kernel // 2), x.shape
    padded = mx.pad(x, [(0, 0), ends, ends, (0, 0)])
    windows = ((down, across) for down in range(kernel) for across in range(kernel))
    return sum(
        (
            padded[:, down : down + height, across : across + width] * weight[:, down, across, 0]
            for down, across in windows
        ),
        mx.zeros_like(x),
    )


def linear_attention(step: Step, weights: Weights, x: mx.array) -> mx.array:
    """Weigh all values by ReLU of query and key, in float32: by one matrix for each head, the sum over all pixels."""
    del weights
    batch, height, width, _ = x.shape
    parts = x.astype(mx.float32).reshape(batch, height * width, step.heads, 3, step.head).transpose(3, 0, 2, 1, 4)
    queries, keys, values = mx.maximum(parts[0], 0), mx.maximum(parts[1], 0), parts[2]
    ones = mx.ones((*values.shape[:-1], 1))
    state = keys.swapaxes(-1, -2) @ mx.concatenate([values, ones], axis=-1)
    total, weight = mx.split(queries @ state, [step.head], axis=-1)
    attended = (total / (weight + LINEAR_EPS)).transpose(0, 2, 1, 3)
    return attended.reshape(batch, height, width, step.outputs).astype(x.dtype)


KINDS = {
    "conv": convolution,
    "attention": attention,
    "shuffle": shuffle,
    "rms": rms,
    "gated": gated,
    "scales": scales,
    "linear": linear_attention,
}
