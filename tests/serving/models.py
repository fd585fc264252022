"""Small VAEs of every family, for servers."""

from __future__ import annotations

from tests.support.models import FLUX2, narrow
from zvae_tiled import VAEConfig
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.families.wan import WanConfig

FLUX = narrow("flux1")

FAMILIES: dict[str, VAEConfig] = {
    "flux2": FLUX2,
    "sd1": narrow("sd1"),
    "qwen": QwenImageConfig(base_dim=4, dim_mult=(1, 2), num_res_blocks=1, temperal_downsample=(True,)),
    "wan": WanConfig(base_dim=4, dim_mult=(1, 2), num_res_blocks=1, temperal_downsample=(True,)),
    "tiny": TinyConfig(latent_channels=16, encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4),
}
