"""The layers a VAE is built of, NHWC; module and parameter names are those of diffusers."""

from __future__ import annotations

import mlx.core as mx
from mlx import nn

QUERIES_AT_ONCE = 1024
"""Rows of the score matrix held at a time: 1,024 × 16,384 keys in float32 are 64 MiB."""


class GroupNorm(nn.Module):
    """Group normalisation with statistics in float32, whatever the type of its input."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.groups = groups
        self.eps = eps
        self.weight = mx.ones((channels,))
        self.bias = mx.zeros((channels,))

    def __call__(self, x: mx.array) -> mx.array:
        """Normalise (B, H, W, C) over H, W and the channels of each group."""
        batch, height, width, channels = x.shape
        grouped = x.astype(mx.float32).reshape(batch, height * width, self.groups, channels // self.groups)
        mean = mx.mean(grouped, axis=(1, 3), keepdims=True)
        # Two passes: E[x²] − E[x]² cancels in float32 where the mean is large.
        centred = grouped - mean
        variance = mx.mean(mx.square(centred), axis=(1, 3), keepdims=True)
        normal = (centred * mx.rsqrt(variance + self.eps)).reshape(x.shape)
        return (normal * self.weight + self.bias).astype(x.dtype)


class ResnetBlock(nn.Module):
    """Two norm–SiLU–convolution steps and a skip around them."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        if in_channels != out_channels:
            self.conv_shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def __call__(self, x: mx.array) -> mx.array:
        """Return x, or its 1×1 projection, plus what the two steps make of it."""
        h = self.conv1(silu(self.norm1(x)))
        h = self.conv2(silu(self.norm2(h)))
        skip = self.conv_shortcut(x) if "conv_shortcut" in self else x
        return skip + h


class Attention(nn.Module):
    """One head of self-attention over every pixel of the map, with a skip around it."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = GroupNorm(groups, channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = [nn.Linear(channels, channels)]

    def __call__(self, x: mx.array) -> mx.array:
        """Attend from every pixel to every pixel, some queries at a time."""
        batch, height, width, channels = x.shape
        tokens = self.group_norm(x).reshape(batch, height * width, channels)
        queries, keys, values = self.to_q(tokens), self.to_k(tokens), self.to_v(tokens)
        keys = keys.swapaxes(1, 2)
        attended = []
        for start in range(0, height * width, QUERIES_AT_ONCE):
            scores = (queries[:, start : start + QUERIES_AT_ONCE] * channels**-0.5) @ keys
            attended.append(mx.softmax(scores, axis=-1, precise=True) @ values)
            mx.eval(attended[-1])  # frees the scores before the next ones are made
        return x + self.to_out[0](mx.concatenate(attended, axis=1)).reshape(x.shape)


class Upsample(nn.Module):
    """Nearest-neighbour ×2, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        """Double the height and the width."""
        return self.conv(mx.repeat(mx.repeat(x, 2, axis=1), 2, axis=2))


class Downsample(nn.Module):
    """A 3×3 convolution of stride 2, padded at the bottom and the right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2)

    def __call__(self, x: mx.array) -> mx.array:
        """Halve the height and the width."""
        return self.conv(mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]))


class MidBlock(nn.Module):
    """Two resnets at the latents' resolution with, usually, attention between them."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.attentions = [Attention(channels, groups)] if attention else []
        self.resnets = [ResnetBlock(channels, channels, groups) for _ in range(2)]

    def __call__(self, x: mx.array) -> mx.array:
        """Run the block."""
        x = evaluated(self.resnets[0](x))
        for attention in self.attentions:
            x = evaluated(attention(x))
        return evaluated(self.resnets[1](x))


def evaluated(x: mx.array) -> mx.array:
    """Compute x now, so that what led to it is freed before the next block starts."""
    mx.eval(x)
    return x


def silu(x: mx.array) -> mx.array:
    """Return x·σ(x); `nn.silu` would compile it, which on a CPU runs the system's C++ compiler."""
    return x * mx.sigmoid(x)
