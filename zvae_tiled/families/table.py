"""All families and presets, and `config_of`, which reads a config by its name or its file.

A key of a config.json is in one of four sets. Fields of the family's config are checked and used. Keys in `HARMLESS` or
in the family's ``harmless`` are ignored. Keys in its ``only`` must have the one value that is implemented. Any other
key could change the architecture, and is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, cast

from zvae_tiled.checks import shown
from zvae_tiled.errors import ConfigError
from zvae_tiled.families.base import Family, VAEConfig
from zvae_tiled.families.checks import frozen
from zvae_tiled.families.reading import parse_json, read_file
from zvae_tiled.wording import listed


def _families() -> list[Family]:
    """Return the ``FAMILY`` of every file in this folder that defines one, in the order of file names."""
    here = str(Path(__file__).parent)
    names = sorted(module.name for module in iter_modules([here]) if module.name != "table")
    modules = [import_module(f"zvae_tiled.families.{name}") for name in names]
    return [module.FAMILY for module in modules if hasattr(module, "FAMILY")]


FAMILIES: dict[str, Family] = {family.config.class_name: family for family in _families()}
"""Families by the ``_class_name`` that diffusers writes."""

PRESETS: dict[str, VAEConfig] = {
    name: preset for family in FAMILIES.values() for name, preset in family.presets.items()
}

REPOSITORIES: dict[str, tuple[str, ...]] = {
    name: models for family in FAMILIES.values() for name, models in family.repositories.items()
}
"""Models on Hugging Face that hold a preset's VAE, in the order of the search; a preset may have no entry."""

LOOKALIKES: dict[str, str] = {name: model for family in FAMILIES.values() for name, model in family.lookalikes.items()}
"""Models without a preset whose weights have a preset's names and shapes, but other latents."""

HARMLESS = frozenset({"_diffusers_version", "_name_or_path", "_commit_hash", "sample_size"})
"""Keys that a decode does not depend on: provenance, and the size at which diffusers starts to tile."""

USUAL = "AutoencoderKL"
"""The class of a config without ``_class_name``."""


def config_of(value: VAEConfig | str | os.PathLike[str]) -> VAEConfig:
    """Return a config as it is, a preset by its name, or a ``config.json`` by its path.

    Raises:
        ConfigError: It is none of them, or describes no VAE known here.
    """
    if isinstance(value, VAEConfig):
        return value
    if isinstance(value, str) and not value.endswith(".json"):
        if value not in PRESETS:
            presets = f"Presets: {', '.join(sorted(PRESETS))}; or give a config.json."
            raise ConfigError(f"no preset is called {shown(value)}", f"{meant(value, PRESETS)}{presets}")
        return PRESETS[value]
    if isinstance(value, str | os.PathLike):
        source = os.fspath(value)
        return config_from(parse_json(read_file(Path(value)), source), source)
    raise ConfigError(f"a config must be a VAEConfig, a preset's name or a config.json, it is {shown(value)}")


def meant(text: str, names: Iterable[str]) -> str:
    """Return "Did you mean …? " with the names that are written nearly as a word is; else an empty text."""
    plain = _plain(text)
    near = [name for name in names if plain and (plain in _plain(name) or _plain(name) in plain)]
    return f"Did you mean {' or '.join(near)}? " if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def weightless(name: str | os.PathLike[str]) -> VAEConfig | None:
    """Return the preset of this name if its VAE has no weights, so that no file is looked for; else None."""
    preset = PRESETS.get(os.fspath(name))
    return None if preset is None or preset.chain("decode").steps or os.path.exists(name) else preset


def config_from(values: Mapping[str, Any], source: str = "config") -> VAEConfig:
    """Build a config from the parsed JSON of diffusers.

    Args:
        values: The keys of a ``config.json``.
        source: What to call it in an error.

    Raises:
        ConfigError: The class or a key is unknown, or a value is of the wrong type or impossible.
    """
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{source} must be the keys and values of a config.json, it is {shown(values)}")
    name = values.get("_class_name", USUAL)
    if not isinstance(name, str) or name not in FAMILIES:
        raise ConfigError(
            f"{source}: _class_name must be one of {', '.join(FAMILIES)}, it is {shown(name)}",
            "Is this the config.json of the VAE itself?",
        )
    family = FAMILIES[name].config
    known, build = {field.name for field in fields(family)}, cast(Callable[..., VAEConfig], family)
    unknown = sorted(set(values) - known - HARMLESS - family.harmless - set(family.only) - {"_class_name"})
    if unknown:
        raise ConfigError(
            f"{source}: unknown keys that may change the architecture: {listed(map(repr, unknown))}",
            f"These are no keys of {name}; is this the config.json of the VAE itself?",
        )
    for key, only in family.only.items():
        if values.get(key, only) != only:
            raise ConfigError(f"{source}: {key} must be {only!r}, it is {shown(values[key])}")
    try:
        return build(**{key: frozen(values[key]) for key in known & set(values)})
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.problem}", error.advice) from None


def preset_names(config: VAEConfig) -> list[str]:
    """Return the names of presets that equal a config."""
    return [name for name, preset in PRESETS.items() if preset == config]
