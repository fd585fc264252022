"""The encoder: picture to the mean and log-variance of its latents."""

from __future__ import annotations

from itertools import pairwise

import mlx.core as mx
from mlx import nn

from zvae_tiled.config import VAEConfig
from zvae_tiled.model.layers import Downsample, GroupNorm, MidBlock, ResnetBlock, evaluated, silu


class DownBlock(nn.Module):
    """One level: resnets, then ÷2 unless the level is the latents' own."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, downsample: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * layers
        self.resnets = [ResnetBlock(a, b, groups) for a, b in pairwise(widths)]
        self.downsamplers = [Downsample(out_channels)] if downsample else []

    def __call__(self, x: mx.array) -> mx.array:
        """Run the level."""
        for layer in [*self.resnets, *self.downsamplers]:
            x = evaluated(layer(x))
        return x


class Encoder(nn.Module):
    """(B, H, W, in_channels) to (B, H/scale, W/scale, 2·latent_channels)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        groups = config.norm_num_groups
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], kernel_size=3, padding=1)
        self.down_blocks = [
            DownBlock(
                in_channels=widths[max(level - 1, 0)],
                out_channels=width,
                layers=config.layers_per_block,
                groups=groups,
                downsample=level < len(widths) - 1,
            )
            for level, width in enumerate(widths)
        ]
        self.mid_block = MidBlock(widths[-1], groups, config.mid_block_add_attention)
        self.conv_norm_out = GroupNorm(groups, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, kernel_size=3, padding=1)

    def __call__(self, images: mx.array) -> mx.array:
        """Encode pictures in [-1, 1]."""
        x = evaluated(self.conv_in(images))
        for block in self.down_blocks:
            x = block(x)
        x = self.mid_block(x)
        return evaluated(self.conv_out(silu(self.conv_norm_out(x))))
