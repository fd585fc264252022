"""The VAE of this process: the one that is set, else the one an environment variable names, else one found."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import REPOSITORIES

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

VARIABLE = "ZVAE_VAE"

USUAL = "z-image"
"""The preset whose models are looked for; FLUX.1's have the same VAE."""

_lock = threading.Lock()
_chosen: VAE | str | os.PathLike[str] | None = None
_loaded: VAE | None = None


def set_default_vae(vae: VAE | str | os.PathLike[str] | None) -> None:
    """Choose the VAE that `decode_tiled` uses when it is given none.

    Args:
        vae: A VAE, or a path to load one from at its first use; None to look for one again.
    """
    global _chosen, _loaded
    with _lock:
        _chosen, _loaded = vae, None


def default_vae() -> VAE:
    """Return the VAE of this process, loaded once.

    Raises:
        ConfigError: None was set, named or found.
    """
    global _loaded
    from zvae_tiled.vae import VAE

    check_threads()  # before the lock: a thread that is lost may hold it
    with _lock:
        if isinstance(_chosen, VAE):
            return _chosen
        if _loaded is None:
            path = _chosen or default_path()
            try:
                _loaded = VAE.load(path)
            except ConfigError as error:
                advice = "Name a folder that holds a config.json too, or set_default_vae(VAE.load(path, config=…))."
                raise ConfigError(f"the default VAE {path} cannot be loaded: {error.problem}", advice) from error
        return _loaded


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
