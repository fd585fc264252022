"""Where a VAE lies when none is named: at the path of an environment variable, else in the Hugging Face cache."""

from __future__ import annotations

import os
from pathlib import Path

from zvae_tiled.errors import ConfigError
from zvae_tiled.families import REPOSITORIES

VARIABLE = "ZVAE_VAE"

USUAL = "z-image"
"""The preset whose models are looked for; FLUX.1's have the same VAE."""


def default_path() -> str | Path:
    """Return the VAE that the environment names, else one found.

    Raises:
        ConfigError: None was named or found.
    """
    path = os.environ.get(VARIABLE) or find_in_cache()
    if path is None:
        raise ConfigError(
            "no VAE was given, none is set, and none was found",
            f"Pass vae=VAE.load(path), or call set_default_vae(path), or set ${VARIABLE} to a path; on the command "
            f"line: --vae PATH. The Hugging Face cache ({cache_folder()}) holds no VAE of Z-Image or FLUX.1.",
        )
    return path


def find_in_cache(repositories: tuple[str, ...] = REPOSITORIES[USUAL]) -> Path | None:
    """Return the VAE folder of the first of these models that is in the local Hugging Face cache."""
    for repository in repositories:
        snapshots = cache_folder() / f"models--{repository.replace('/', '--')}" / "snapshots"
        folders = sorted(snapshots.glob("*/vae/config.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for config in folders:
            if any(config.parent.glob("*.safetensors")):  # a partial download may have the config alone
                return config.parent
    return None


def cache_folder() -> Path:
    """Return where huggingface_hub keeps its downloads: its variables, in its order."""
    if "HF_HUB_CACHE" in os.environ:
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    return Path(home).expanduser() / "hub"
