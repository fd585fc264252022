"""The decoder: latents to picture. Read it beside the paper (Rombach et al. 2022, appendix E)."""

from __future__ import annotations

from itertools import pairwise

import mlx.core as mx
from mlx import nn

from zvae_tiled.config import VAEConfig
from zvae_tiled.model.layers import GroupNorm, MidBlock, ResnetBlock, Upsample, evaluated, silu


class UpBlock(nn.Module):
    """One level: resnets, then ×2 unless the level is the picture's own."""

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, upsample: bool) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * layers
        self.resnets = [ResnetBlock(a, b, groups) for a, b in pairwise(widths)]
        self.upsamplers = [Upsample(out_channels)] if upsample else []

    def __call__(self, x: mx.array) -> mx.array:
        """Run the level."""
        for layer in [*self.resnets, *self.upsamplers]:
            x = evaluated(layer(x))
        return x


class Decoder(nn.Module):
    """(B, h, w, latent_channels) to (B, h·scale, w·scale, out_channels)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        groups = config.norm_num_groups
        widths = config.block_out_channels[::-1]  # from the latents' resolution up
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], kernel_size=3, padding=1)
        self.mid_block = MidBlock(widths[0], groups, config.mid_block_add_attention)
        self.up_blocks = [
            UpBlock(
                in_channels=widths[max(level - 1, 0)],
                out_channels=width,
                layers=config.layers_per_block + 1,
                groups=groups,
                upsample=level < len(widths) - 1,
            )
            for level, width in enumerate(widths)
        ]
        self.conv_norm_out = GroupNorm(groups, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.out_channels, kernel_size=3, padding=1)

    def __call__(self, latents: mx.array) -> mx.array:
        """Decode latents whose scale and shift are undone."""
        x = self.mid_block(evaluated(self.conv_in(latents)))
        for block in self.up_blocks:
            x = block(x)
        return evaluated(self.conv_out(silu(self.conv_norm_out(x))))
