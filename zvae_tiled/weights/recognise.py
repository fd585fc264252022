"""Finds the config of weights: the one beside them, or the preset whose names and shapes they have."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from zvae_tiled.errors import ConfigError
from zvae_tiled.families import FAMILIES, LOOKALIKES, PRESETS, VAEConfig, config_of
from zvae_tiled.families.reading import parse_json, read_file
from zvae_tiled.weights.arrays import Arrays
from zvae_tiled.weights.find import Checkpoint
from zvae_tiled.weights.hub import download, repository_of
from zvae_tiled.weights.load import fits, headers
from zvae_tiled.weights.vae import ENCODER, file_shapes

_ADVICE = "the path of a config.json."


def chosen_config(config: VAEConfig | str | os.PathLike[str] | None, source: Checkpoint | Arrays) -> VAEConfig:
    """Return `config`; if it is None, the one beside the weights, else the preset that they fit.

    Args:
        config: A config, a preset's name, or the path of a config.json.
        source: The weights, in files or in memory.

    Raises:
        ConfigError: It describes a VAE that cannot be built; or there is none, and the weights fit no preset, or
            presets that differ in their latents.
        WeightsError: There is no config, and the weights cannot be read.
    """
    if config is not None:
        return config_of(config)
    if isinstance(source, Checkpoint) and source.folder_config is not None:
        return _as_in_pipeline(config_of(source.folder_config), source.folder_config.parent, source.pipeline)
    absent = (
        f"there is no config.json beside {source.files[0]}"
        if isinstance(source, Checkpoint)
        else "no config was passed"
    )
    fitting = fitting_presets(source)
    models = [*fitting, *(LOOKALIKES[name] for name in fitting if name in LOOKALIKES)]
    if len(models) == len(fitting) > 0 and all(alike(PRESETS[name], PRESETS[fitting[0]]) for name in fitting):
        return PRESETS[fitting[0]]
    if not fitting:
        problem = f"{absent}, and no preset has their names and shapes"
        raise ConfigError(problem, f"Set config= to {_ADVICE}")
    same = f"{', '.join(models[:-1])} and {models[-1]}"
    raise ConfigError(
        f"{absent}, and {same} have these names and shapes, but other latents",
        f"Set config= to the preset of the model ({' or '.join(fitting)}), or to {_ADVICE}",
    )


def _as_in_pipeline(config: VAEConfig, folder: Path, index: Path | None) -> VAEConfig:
    """Return the config with what the pipeline around its folder changes in it."""
    changes = FAMILIES[config.class_name].pipelines
    if not changes:
        return config
    if index is None:
        _check_download(config, folder)
        return config
    name = parse_json(read_file(index), str(index)).get("_class_name")
    return replace(config, **changes.get(name, {})) if isinstance(name, str) else config


def _check_download(config: VAEConfig, folder: Path) -> None:
    """Refuse a model of the Hugging Face cache without its model_index.json, unless a preset names the model."""
    family, repository = FAMILIES[config.class_name], repository_of(folder)
    if repository is not None and not any(repository in models for models in family.repositories.values()):
        raise ConfigError(
            f"{folder.parent} has no model_index.json, which says whose latents its VAE reads: those of "
            f"{' or '.join(family.presets)}",
            f"Download it: {download(repository)}\nOr set config= to the preset of the model.",
        )


def fitting_presets(source: Checkpoint | Arrays) -> list[str]:
    """Return the presets whose decoders have weights of these names and shapes. Some differ in their latents only.

    Raises:
        WeightsError: A file cannot be read, or is not a safetensors file.
    """
    stored = headers(source)
    return [
        name
        for name, config in PRESETS.items()
        if fits(stored, file_shapes(config, ("decode",)), (*config.unused, *ENCODER), config.causal)
    ]


def alike(one: VAEConfig, other: VAEConfig) -> bool:
    """Return whether two configs decode and encode alike."""
    parts = [(each.latents, each.clips, each.unit, each.chain("decode"), each.chain("encode")) for each in (one, other)]
    return parts[0] == parts[1]
