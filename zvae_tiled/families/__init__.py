"""What a VAE is, one file a family: its config, its Chain, its latents, presets, and where they are found. No MLX."""

from zvae_tiled.families.base import LatentConvention, Task, VAEConfig
from zvae_tiled.families.table import FAMILIES, PRESETS, REPOSITORIES, config_from, config_of, preset_names

__all__ = [
    "FAMILIES",
    "PRESETS",
    "REPOSITORIES",
    "LatentConvention",
    "Task",
    "VAEConfig",
    "config_from",
    "config_of",
    "preset_names",
]
