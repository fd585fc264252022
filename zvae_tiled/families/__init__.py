"""What a VAE is, one file for each family: config, Chain, latents, presets, Hugging Face repositories. No MLX."""

from zvae_tiled.families.base import LatentConvention, Task, VAEConfig
from zvae_tiled.families.mosaic import Mosaic
from zvae_tiled.families.table import (
    FAMILIES,
    LOOKALIKES,
    PRESETS,
    REPOSITORIES,
    config_from,
    config_of,
    meant,
    preset_names,
    weightless,
)

__all__ = [
    "FAMILIES",
    "LOOKALIKES",
    "PRESETS",
    "REPOSITORIES",
    "LatentConvention",
    "Mosaic",
    "Task",
    "VAEConfig",
    "config_from",
    "config_of",
    "meant",
    "preset_names",
    "weightless",
]
