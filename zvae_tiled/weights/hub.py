"""Finds the default VAE: the path in an environment variable, else the Hugging Face cache."""

from __future__ import annotations

import os
from pathlib import Path

from zvae_tiled.errors import ConfigError
from zvae_tiled.families import REPOSITORIES

VARIABLE = "ZVAE_VAE"

USUAL = "z-image"
"""The preset whose models are searched for in the cache. FLUX.1's models have the same VAE."""


def default_path() -> str | Path:
    """Return the path in ``$ZVAE_VAE``, else that of a VAE in the Hugging Face cache.

    Raises:
        ConfigError: There is neither.
    """
    path = os.environ.get(VARIABLE) or find_in_cache()
    if path is None:
        raise ConfigError(
            "no VAE was passed, no default is set, and none was found in the cache",
            f"Pass vae=VAE.load(path), or call set_default_vae(path), or set ${VARIABLE} to a path; on the command "
            f"line: --vae PATH. The Hugging Face cache ({cache_folder()}) holds no VAE of Z-Image or FLUX.1.",
        )
    return path


def find_in_cache(repositories: tuple[str, ...] = REPOSITORIES[USUAL]) -> Path | None:
    """Return the VAE folder of the first of these models that is in the local Hugging Face cache."""
    for repository in repositories:
        snapshots = cache_folder() / f"models--{repository.replace('/', '--')}" / "snapshots"
        alone = [path for path in snapshots.glob("*/config.json") if not path.with_name("model_index.json").exists()]
        configs = [*snapshots.glob("*/vae/config.json"), *alone]  # a pipeline, or a VAE alone
        folders = sorted(configs, key=lambda path: path.stat().st_mtime, reverse=True)
        for config in folders:
            if any(config.parent.glob("*.safetensors")):  # a partial download may have the config alone
                return config.parent
        for folder in snapshots.glob("*/"):  # taef2 has no config
            if not any(folder.glob("*.json")) and any(folder.glob("*.safetensors")):
                return folder
    return None


def cache_folder() -> Path:
    """Return the download folder of huggingface_hub, from the variables that it reads, in the same order."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    return Path(home).expanduser() / "hub"
