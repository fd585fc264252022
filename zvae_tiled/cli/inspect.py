"""`zvae inspect`: shows what a VAE or a file of latents contains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zvae_tiled.cli.command import Command
from zvae_tiled.cli.completion import vae_names
from zvae_tiled.cli.sources import vae_path
from zvae_tiled.cli.spoken import spoken
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import (
    FAMILIES,
    PRESETS,
    REPOSITORIES,
    LatentConvention,
    VAEConfig,
    config_of,
    preset_names,
    weightless,
)
from zvae_tiled.weights.hub import cache_folder, find_in_cache

if TYPE_CHECKING:
    from zvae_tiled.inputs.latents import Latents
    from zvae_tiled.weights.header import TensorInfo

ENCODER = ("encoder.", "quant_conv.")

MARKS = frozenset(name for family in FAMILIES.values() for name in family.config.marks)


@click.command(cls=Command, short_help="Show what a VAE or a file of latents contains.")
@click.argument("what", metavar="VAE|LATENTS", shell_complete=vae_names)
@click.option("--tensor", metavar="NAME", help="The tensor to inspect in a file of latents. Default: the only one.")
def inspect(what: str, tensor: str | None) -> None:
    """Show what a VAE (a folder, a file, a preset, demo) or a file of latents contains, and whether it can be used."""
    lines = _described(what, tensor)
    click.echo("\n".join(f"{name:<10} {value}" for name, value in lines))


def _described(what: str, tensor: str | None) -> list[tuple[str, Any]]:
    if what in PRESETS and not os.path.exists(what):
        lines = _preset(what)
    else:
        place = vae_path(what)
        if not _is_vae(place):
            return _latents(place, tensor)
        lines = _vae(place)
    if tensor is not None:
        raise click.UsageError(f"--tensor: {what} is a VAE, not a file of latents. Remove it.")
    return lines


def _is_vae(path: Path) -> bool:
    if os.path.isdir(path) or path.suffix == ".json":
        return True
    return path.suffix == ".safetensors" and any("decoder." in name or name in MARKS for name in _tensors(path))


def _tensors(path: Path) -> dict[str, TensorInfo]:
    from zvae_tiled.weights.safetensors_file import SafetensorsFile
    from zvae_tiled.weights.tiny_names import diffusers_names

    with SafetensorsFile(path) as file:
        names = diffusers_names(file.tensors)
        return {names[name]: info for name, info in file.tensors.items() if name in names}


def _preset(name: str) -> list[tuple[str, Any]]:
    """Describe a preset: the weights in the cache, if there are any, else its shape alone."""
    if weightless(name):
        return [("files", "none: this VAE has no weights"), *_shape(PRESETS[name])]
    models = REPOSITORIES.get(name, ())
    folder = find_in_cache(models)
    if folder is not None:
        return _vae(folder)
    known = [("models", ", ".join(models))] if models else []
    return [("files", f"none: the Hugging Face cache ({cache_folder()}) has none"), *known, *_shape(PRESETS[name])]


def _vae(place: Path) -> list[tuple[str, Any]]:
    from zvae_tiled.weights.find import find_checkpoint
    from zvae_tiled.weights.recognise import chosen_config

    if place.suffix == ".json" and ".index." not in place.name:
        return [("config", place), *_shape(config_of(place))]
    checkpoint = find_checkpoint(place)
    tensors = {name: info for path in checkpoint.files for name, info in _tensors(path).items()}
    sizes = {name: info.stop - info.start for name, info in tensors.items()}
    encoder = sum(size for name, size in sizes.items() if name.startswith(ENCODER))
    types = ", ".join(sorted({str(info.dtype) for info in tensors.values()}))
    lines: list[tuple[str, Any]] = [
        ("files", ", ".join(map(str, checkpoint.files))),
        ("tensors", f"{len(tensors)}, {types}, {sum(sizes.values()) / 1e6:,.1f} MB"),
        ("encoder", f"{encoder / 1e6:,.1f} MB of them, read for zvae encode only" if encoder else "none"),
    ]
    try:
        config = chosen_config(None, checkpoint)
    except ConfigError as error:
        if checkpoint.folder_config is not None:
            raise
        return [*lines, ("config", error.problem), ("", spoken(error.advice))]
    return [*lines, ("config", checkpoint.folder_config or "none beside it"), *_shape(config)]


def _shape(config: VAEConfig) -> list[tuple[str, Any]]:
    convention, cell, steps = config.latents, config.cell, config.chain("decode").steps
    channels, grain = convention.returned
    levels = [step.inputs for step in reversed(steps) if step.upsample or step is steps[-1]]
    return [
        ("family", config.class_name),
        ("like", ", ".join(preset_names(config)) or "no preset"),
        ("latents", f"{channels} channels, one for {cell // grain}x{cell // grain} pixels"),
        ("widths", ", ".join(map(str, levels)) or "none: there are no convolutions"),
        ("scaling", _scaling(convention)),
    ]


def _scaling(convention: LatentConvention) -> str:
    if convention.statistics is not None:
        return f"normalised by {convention.statistics.mean} and {convention.statistics.variance}"
    if convention.mean:
        return f"{convention.scaling}, with a mean and a deviation for each channel"
    return f"{convention.scaling}, shifted by {convention.shift:g}"


def _latents(path: Path, tensor: str | None) -> list[tuple[str, Any]]:
    import mlx.core as mx
    import numpy as np

    from zvae_tiled.errors import LatentsError
    from zvae_tiled.inputs.arrays import to_mlx
    from zvae_tiled.inputs.latent_files import read_latent_file

    file = read_latent_file(path, tensor)
    array = to_mlx(file.array, "latents", LatentsError)
    values = np.asarray(array.astype(mx.float32))
    bad = np.count_nonzero(~np.isfinite(values))
    lines: list[tuple[str, Any]] = [
        ("file", path),
        ("shape", f"{' x '.join(map(str, array.shape))}, {str(array.dtype).removeprefix('mlx.core.')}"),
    ]
    if bad:
        lines.append(("values", f"{bad} of {array.size} are NaN or infinite: cannot be decoded"))
    elif array.size:
        figures = {"mean": values.mean(), "spread": values.std(), "least": values.min(), "most": values.max()}
        lines.append(("values", ", ".join(f"{name} {figure:.3g}" for name, figure in figures.items())))
    if file.height is not None and file.width is not None:
        lines.append(("picture", f"{file.width}x{file.height}"))
    scaled = "scaled, as from a pipeline" if file.scaled else "not scaled"
    return [*lines, ("read as", f"{_arrangement(file)}, {scaled}")]


def _arrangement(file: Latents) -> str:
    """Return the layout in which `zvae decode` reads these latents."""
    if file.height is not None or file.array.ndim == 2:
        return "packed tokens"
    if file.layout is None and file.array.ndim == 3:
        return "NCHW; packed tokens with --height and --width"
    return file.layout or "NCHW"
