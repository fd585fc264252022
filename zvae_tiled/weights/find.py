"""Finds a checkpoint's files from a path: a file, a shard index, or a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zvae_tiled.errors import WeightsError
from zvae_tiled.files.opening import unreadable
from zvae_tiled.weights.content import CONVERT
from zvae_tiled.weights.index import read_index
from zvae_tiled.weights.safetensors_file import SafetensorsFile
from zvae_tiled.wording import listed

PICKLES = (".bin", ".pt", ".pth", ".ckpt")

_STEM = "diffusion_pytorch_model"

_HALVES = ("_decoder.safetensors", "_encoder.safetensors")
"""Ends of the names of TAESD's files, which hold one half each."""

# The first row with an existing file is used. Two existing files of one row are an error.
_RULES = (
    (f"{_STEM}.safetensors", f"{_STEM}.safetensors.index.json", "ae.safetensors"),
    (f"{_STEM}.fp16.safetensors", f"{_STEM}.safetensors.index.fp16.json"),
)


@dataclass(frozen=True)
class Checkpoint:
    """The files of a checkpoint, not opened yet.

    Attributes:
        folder_config: The ``config.json`` beside the weights, if there is one.
        files: The safetensors files: one, both halves, or all shards.
        weight_map: The file of each tensor, if there is a shard index.
        index: The shard index, if there is one.
        pipeline: The ``model_index.json`` of the pipeline whose ``vae/`` holds the weights, if there is one.
    """

    folder_config: Path | None
    files: tuple[Path, ...]
    weight_map: Mapping[str, Path] | None = None
    index: Path | None = None
    pipeline: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of its files: weights, index and config."""
        return (*self.files, *(path for path in (self.index, self.folder_config, self.pipeline) if path is not None))

    def absolute(self) -> Checkpoint:
        """Return it with absolute paths."""
        weight_map = self.weight_map and {name: path.absolute() for name, path in self.weight_map.items()}
        config, index, pipeline = (path and path.absolute() for path in (self.folder_config, self.index, self.pipeline))
        return Checkpoint(config, tuple(path.absolute() for path in self.files), weight_map, index, pipeline)


def find_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Find the weights of a VAE.

    Args:
        path: A safetensors file, a ``*.safetensors.index.json``, the folder of a VAE, or the folder of a
            whole model, whose ``vae/`` is used.

    Returns:
        Its files. They are found by name here. Their content is checked when they are opened.

    Raises:
        WeightsError: There are no weights, or several files and no rule to choose one.
    """
    place = Path(path)
    if not os.fspath(path):
        raise WeightsError("The path to the weights is empty.", "Pass a file or a folder.")
    if not _is_folder(place):
        return _from_file(place)
    # A whole model's folder may also hold the VAE as ae.safetensors. Its vae/ comes first: it has the config too.
    folders = [folder for folder in (place / "vae", place) if _is_folder(folder, missing_ok=True)]
    for folder in folders:
        weights = _choose(folder)
        if weights is not None:
            return _from_file(weights)
    raise _nothing_found(place, folders)


def _is_folder(path: Path, missing_ok: bool = False) -> bool:
    try:
        path.stat()
    except FileNotFoundError as error:
        if missing_ok:
            return False
        raise unreadable(path, error) from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return path.is_dir()


def _from_file(path: Path) -> Checkpoint:
    beside = path.parent / "config.json"
    config = beside if os.path.isfile(beside) else None
    above = path.absolute().parent.parent / "model_index.json"
    pipeline = above if config is not None and os.path.isfile(above) else None
    if path.suffix != ".json":
        return Checkpoint(config, _with_other_half(path), pipeline=pipeline)
    weight_map = read_index(path)
    return Checkpoint(config, tuple(sorted(set(weight_map.values()))), weight_map, path, pipeline)


def _with_other_half(path: Path) -> tuple[Path, ...]:
    """Return a file, and the other half beside it if its name says that it is one half: the decoder first."""
    for end in _HALVES:
        halves = tuple(path.with_name(path.name.removesuffix(end) + half) for half in _HALVES)
        if path.name.endswith(end) and all(map(os.path.isfile, halves)):
            return halves
    return (path,)


def _choose(folder: Path) -> Path | None:
    names = _names(folder)
    indices = [name for name in names if name.endswith(".safetensors.index.json")]
    weights = [name for name in names if name.endswith(".safetensors")]
    # After the known names: the only index of any name, then the only file of any name.
    for rule in (*_RULES, indices, weights):
        candidates = [name for name in rule if name in names]
        if rule is weights:
            candidates = [name for name in candidates if _may_be_weights(folder / name)]
        if len(candidates) > 1 and len(_with_other_half(folder / candidates[0])) != len(candidates):
            problem = f"{folder} holds several checkpoints: {', '.join(candidates)}. It is not clear which to load."
            raise WeightsError(problem, "Pass the path of one of them.")
        if candidates:
            return folder / candidates[0]
    return None


def _may_be_weights(path: Path) -> bool:
    """Return whether a file of any name may hold weights, and not latents or a picture. A damaged one may."""
    try:
        with SafetensorsFile(path) as file:
            return any("weight" in name for name in file.tensors)
    except WeightsError:
        return True


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise unreadable(folder, error) from error


def _nothing_found(place: Path, folders: list[Path]) -> WeightsError:
    pickles = [str(folder / name) for folder in folders for name in _names(folder) if name.endswith(PICKLES)]
    if pickles:
        return WeightsError(f"{place} holds only pickles: {', '.join(pickles)}.", CONVERT)
    others = [str(folder / name) for folder in folders for name in _names(folder) if name.endswith(".safetensors")]
    if others:
        return WeightsError(
            f"{place} holds no weights: none in {listed(others, 3)}, which may be latents.",
            "Pass the VAE's own folder.",
        )
    usual = ", ".join(name for rule in _RULES for name in rule)
    return WeightsError(
        f"{place} holds no weights. Looked in it and in its vae/ for {usual}, or one other *.safetensors.",
        "Pass a safetensors file, or download the folder again: a partial download lacks the large files.",
    )
