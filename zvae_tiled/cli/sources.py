"""Resolves ``--vae`` and ``--config``: to a VAE with its weights, or to its shape alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zvae_tiled.families import PRESETS, VAEConfig, config_of, weightless
from zvae_tiled.files.protect import Source
from zvae_tiled.jobs.shapes import config_named, is_config
from zvae_tiled.weights.hub import USUAL, VARIABLE, default_path, located, named_default

if TYPE_CHECKING:
    from zvae_tiled.vae import VAE

DEMO = "demo"


def load_vae(name: str | None, config: str | None, dtype: str, decoder_only: bool = True, video: bool = False) -> VAE:
    """Load the VAE that ``--vae`` names, for videos if `video` is set. Default: the default VAE."""
    from zvae_tiled.vae import VAE

    check_config(name, config)
    if name == DEMO:
        return VAE.demo(dtype=dtype, decoder_only=decoder_only)
    return VAE.load(vae_path(name), dtype, decoder_only, config, video)


def check_config(name: str | None, config: str | None) -> None:
    """Refuse ``--config`` beside a VAE that has no other.

    Raises:
        click.UsageError: `name` is the demo's, or a preset without weights.
    """
    if config is not None and name is not None and (name == DEMO or weightless(name)):
        raise _idle_config(name)


def vae_path(name: str | None) -> Path:
    """Return the path of the weights, or the name of a preset that has none.

    Raises:
        ConfigError: There is no default VAE, or the cache has no model of the preset that `name` names.
    """
    if name is None:
        return default_path()
    if name == DEMO:
        from zvae_tiled import demo

        return demo.FOLDER
    return located(Path(name))


def order_vae(name: str | None) -> str:
    """Return what an `Order` calls the VAE that ``--vae`` names."""
    path = vae_path(name)
    return str(path if weightless(path) else path.absolute())


def vae_sources(name: str | None, config: str | None) -> tuple[Source, ...]:
    """Return the files that `load_vae` reads. Only a shard index is opened."""
    from zvae_tiled.weights.find import find_checkpoint
    from zvae_tiled.weights.vae import sources_of

    path = vae_path(name)
    return () if weightless(path) else sources_of(find_checkpoint(path), config)


def shape_name(name: str | None, config: str | None) -> tuple[str, str]:
    """Return the VAE whose shape is planned for, and in words where that name comes from.

    Args:
        name: The value of ``--vae``. Default: what ``$ZVAE_VAE`` names, as in other commands; else ``z-image``, the
            shape of the VAEs that they look for in the Hugging Face cache.
        config: The value of ``--config``, which is the shape of any VAE.
    """
    if config is not None:
        return config, "named by --config"
    if name is not None:
        return name, ""
    named = named_default()
    return (named, f"named by ${VARIABLE}") if named else (USUAL, "the default; name another with --vae")


def config_sources(name: str | None, config: str | None) -> list[Path]:
    """Return the files that `named_config` reads."""
    name = shape_name(name, None)[0]
    if config is not None:
        return [] if config in PRESETS else [Path(config)]
    if name in PRESETS:
        return []
    if is_config(name):
        return [Path(name)]
    from zvae_tiled.weights.find import find_checkpoint

    return list(find_checkpoint(vae_path(name)).paths)


def named_config(name: str | None, config: str | None) -> VAEConfig:
    """Return the shape of the VAE. No weights are read.

    Args:
        name: The value of ``--vae``. Default: that of `shape_name`.
        config: The value of ``--config``.
    """
    shape = name is not None and (name in (DEMO, *PRESETS) or is_config(name))
    if config is not None and shape and not os.path.isdir(name or ""):
        raise _idle_config(name)
    if config is not None:
        return config_of(config)
    name = shape_name(name, None)[0]
    return config_named(vae_path(name) if name == DEMO else name)


def _idle_config(name: str | None) -> click.UsageError:
    return click.UsageError(f"--config: --vae {name} has a config of its own. Remove one of them.")
