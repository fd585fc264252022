"""FLUX.2 for the tests: the published config, a small one, and latents for it."""

from __future__ import annotations

from typing import Any

from zvae_tiled.families.flux2 import Flux2Config

DEV: dict[str, Any] = {
    "_class_name": "AutoencoderKLFlux2",
    "_diffusers_version": "0.36.0.dev0",
    "act_fn": "silu",
    "batch_norm_eps": 0.0001,
    "batch_norm_momentum": 0.1,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 32,
    "layers_per_block": 2,
    "mid_block_add_attention": True,
    "norm_num_groups": 32,
    "out_channels": 3,
    "patch_size": [2, 2],
    "sample_size": 1024,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_post_quant_conv": True,
    "use_quant_conv": True,
}
"""The config.json of FLUX.2-dev, and of FLUX.2-klein."""

SMALL = Flux2Config(latent_channels=4, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2)
"""Two levels: one pixel of the packed map stands for 4x4 of the picture."""

CELL = 4
PACKED = 4 * SMALL.latent_channels

MEAN, VARIANCE = "bn.running_mean", "bn.running_var"
