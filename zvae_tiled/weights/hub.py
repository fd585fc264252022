"""Finds the default VAE: what an environment variable names, else one in the Hugging Face cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from zvae_tiled.errors import ConfigError, WeightsError
from zvae_tiled.families import PRESETS, REPOSITORIES, meant, weightless

VARIABLE = "ZVAE_VAE"

DEMO = Path(__file__).parent.parent / "demo"
"""The VAE that comes with the package."""

USUAL = "z-image"
"""The preset whose models are searched for in the cache. FLUX.1's models have the same VAE."""


def named_default() -> str | None:
    """Return what ``$ZVAE_VAE`` names; None if it is not set, or empty."""
    return os.environ.get(VARIABLE) or None


def default_path() -> Path:
    """Return the path of the VAE that ``$ZVAE_VAE`` names, as `located` does, else that of one in the cache.

    Raises:
        ConfigError: There is neither, or the cache has no model of the preset in the variable.
        WeightsError: The variable's word is no preset, or the cache has no model of that name.
    """
    named = named_default()
    path = located(Path(named)) if named else find_in_cache()
    if path is None:
        raise ConfigError(
            "no VAE was passed, no default is set, and none was found in the cache",
            f"Pass vae=path, or call set_default_vae(path), or set ${VARIABLE} to a path. The Hugging Face cache "
            f"({cache_folder()}) holds no VAE of Z-Image or FLUX.1.",
        )
    return path


def located(name: Path) -> Path:
    """Return the path that `VAE.load` reads: an existing one as it is, else that of a model in the Hugging Face cache.

    Args:
        name: A path; or ``OWNER/MODEL``; or a preset, which means any model with that VAE; or ``demo``.

    Raises:
        ConfigError: The cache has no model of this preset.
        WeightsError: The cache has no model of this name, or a word is no preset.
    """
    text = str(name)
    if os.path.exists(name) or weightless(name):
        return name
    if text == "demo":
        return DEMO
    if text in PRESETS:
        return _with_preset(text)
    if _MODEL.fullmatch(text) and not os.path.exists(name.parent):
        return _model(text)
    if _WORD.fullmatch(text):
        problem = f"there is no file, no folder and no preset called {text}"
        presets = f"Presets: {', '.join(PRESETS)}; or demo, which comes with this package."
        raise WeightsError(problem, f"{meant(text, ('demo', *PRESETS))}{presets}")
    return name


def _with_preset(preset: str) -> Path:
    models = REPOSITORIES.get(preset, ())
    folder = find_in_cache(models)
    if folder is None:
        looked_for = f"Looked for: {', '.join(models)}." if models else "No model with that VAE is known."
        fetch = f" Download one first, with: {download(models[0])}" if models else ""
        raise ConfigError(
            f"{preset} needs a model with that VAE in the Hugging Face cache ({cache_folder()}), which has none",
            f"Name the VAE's folder or its .safetensors file. {looked_for}{fetch}",
        )
    return folder


def _model(name: str) -> Path:
    folder = find_in_cache((name,))
    if folder is None:
        raise WeightsError(
            f"there is no file and no folder {Path(name).absolute()}, and no model {name} in the Hugging Face cache "
            f"({cache_folder()})",
            f"Check the path. If a model on Hugging Face is meant, download its VAE first: {download(name)}",
        )
    return folder


def download(model: str) -> str:
    """Return the command that downloads a model's VAE, and the file that names its pipeline."""
    repository, file = _apart(model)
    return f"hf download {repository} {file or 'vae/ model_index.json'}"


def repository_of(vae: Path) -> str | None:
    """Return the model in whose snapshot of the Hugging Face cache this ``vae/`` is, as ``OWNER/MODEL``."""
    found = _SNAPSHOT.search(str(vae.absolute()))
    return "/".join(found.groups()) if found else None


def _apart(model: str) -> tuple[str, str]:
    """Return the repository, and the file in it that ``OWNER/MODEL/FILE`` names."""
    parts = model.split("/", 2)
    return "/".join(parts[:2]), "".join(parts[2:])


_WORD = re.compile(r"\w[\w-]*(\.\d[\w-]*)*")
_MODEL = re.compile(r"\w[\w.-]*/\w[\w-]*(\.\d[\w-]*)*")
"""A name, and that of a model on Hugging Face: one with a dot has a number after it, not the ending of a file."""

_SNAPSHOT = re.compile(r"/models--([^/]+?)--([^/]+)/snapshots/[^/]+/vae$")


def find_in_cache(repositories: tuple[str, ...] = REPOSITORIES[USUAL]) -> Path | None:
    """Return the VAE's folder, or file, of the first of these models that is in the local Hugging Face cache.

    Args:
        repositories: Names of models; or ``OWNER/MODEL/FILE``, for one file of a repository of many.
    """
    bare: list[Path] = []
    for model in repositories:
        repository, file = _apart(model)
        snapshots = _snapshots(repository)
        named = [folder / file for folder in snapshots if os.path.isfile(folder / file)]
        found = named if file else _vaes(snapshots)
        if found:
            return found[0]
        bare += [] if file else _bare(snapshots)
    return bare[0] if bare else None


def _snapshots(repository: str) -> list[Path]:
    """Return the folders of a model's revisions: that of its main branch first, then from the newest to the oldest.

    The ages of their files say nothing: revisions share a file that has not changed.
    """
    place = cache_folder() / f"models--{repository.replace('/', '--')}"
    try:
        main = (place / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        main = ""
    folders = sorted(place.glob("snapshots/*/"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    return sorted(folders, key=lambda folder: folder.name != main)


def _vaes(snapshots: list[Path]) -> list[Path]:
    """Return the folders in snapshots that hold a whole VAE, those with a config first."""
    places = [place for folder in snapshots for place in (folder / "vae", folder)]
    # A partial download may have the config alone.
    holding = [place for place in places if any(place.glob("*.safetensors"))]
    return [
        *(place for place in holding if _has(place, "config.json") and not _has(place, "model_index.json")),
        *(place for place in holding if place.name == "vae"),  # mflux's snapshots have no config
    ]


def _bare(snapshots: list[Path]) -> list[Path]:
    """Return the snapshots that hold weights alone, as taef2's do: a VAE, or what one file of a model is."""
    return [place for place in snapshots if any(place.glob("*.safetensors")) and not any(place.glob("*.json"))]


def _has(folder: Path, name: str) -> bool:
    return os.path.exists(folder / name)


def cache_folder() -> Path:
    """Return the download folder of huggingface_hub, from the variables that it reads, in the same order."""
    for named in (os.environ.get("HF_HUB_CACHE"), os.environ.get("HUGGINGFACE_HUB_CACHE")):
        if named is not None:
            return _expanded(os.path.expandvars(named))
    home = os.environ.get("HF_HOME") or _expanded(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return _expanded(home) / "hub"


def _expanded(path: str | Path) -> Path:
    """Return a path with the home folder in place of ``~``; as it is where there is none, as huggingface_hub does."""
    return Path(os.path.expanduser(path))
