"""Keeps latents in a file until their picture is safe. A program that fails, or is killed, leaves them."""

from __future__ import annotations

import atexit
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import mlx.core as mx

from zvae_tiled.checks import path_of, shown
from zvae_tiled.errors import BudgetError, InputError, LatentsError
from zvae_tiled.families import PRESETS, preset_names
from zvae_tiled.inputs.latent_files import write_latent_file
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.planner.quality import Exact, Quality
from zvae_tiled.report.log import LOG
from zvae_tiled.report.steady import Steady
from zvae_tiled.vae import VAE
from zvae_tiled.weights.hub import find_in_cache
from zvae_tiled.weights.vae import dtype_name
from zvae_tiled.wording import budget_of


class Rescue:
    """The file with the latents of the last decode."""

    def __init__(self) -> None:
        """Start without a file."""
        self._path: Path | None = None
        self._options: dict[str, str] = {}
        atexit.register(self._leave)

    def keep(self, latents: Latents, folder: Path | None, options: Mapping[str, str]) -> None:
        """Delete the file of the decode before, whose picture has been returned, and keep latents in a new one.

        A folder that cannot be written to is logged, and nothing is kept. The options are those of `zvae decode`.
        """
        self.forget()
        if folder is None:
            return
        path = _written(latents, folder)
        if path is None:
            return
        self._path, self._options = path, dict(options)
        LOG.info("latents are kept until their picture is saved: %s", _command(path, self._options))

    def tell(self, error: BaseException) -> None:
        """Add the command that decodes the latents to an error. From then on they are its user's."""
        if self._path is not None:
            _tell(error, self._path, self._options)
            self._path = None

    def forget(self) -> None:
        """Delete the file: its picture is safe."""
        with suppress(OSError):
            if self._path is not None:
                self._path.unlink()
        self._path = None

    def _leave(self) -> None:
        """Delete the file as the program ends, but not after an error: the picture may not be saved."""
        if not hasattr(sys, "last_value"):  # Python sets it for an error that nothing caught
            self.forget()
        elif self._path is not None:
            print(f"The latents are kept: {_command(self._path, self._options)}", file=Steady(sys.stderr))


def rescue(
    error: BaseException, latents: Latents, folder: Path | None, options: Callable[[], Mapping[str, str]]
) -> None:
    """Keep the latents of a decode that failed, and add the command that decodes them to its error.

    Latents that cannot be decoded at all are not kept. Nothing that fails here takes the place of the error.
    """
    if folder is None or isinstance(error, LatentsError):
        return
    path = _written(latents, folder)
    if path is None:
        return
    try:
        _tell(error, path, options())
    except Exception as other:
        error.add_note(f"The latents are kept in {path}. The options of their decode are unknown: {other}")


def options_of(vae: VAE, found: str | None, budget: str | float | None, quality: Quality) -> dict[str, str]:
    """Return the options with which `zvae decode` decodes as an adapter does.

    Args:
        vae: The adapter's VAE.
        found: What `zvae decode --vae` reads: `first_found`. Default: the preset of the VAE.
        budget: The adapter's budget.
        quality: The adapter's quality.
    """
    preset = next(iter(preset_names(vae.config)), "")
    options = {"--vae": found or preset, "--config": preset}
    options["--dtype"] = "" if vae.dtype == mx.bfloat16 else dtype_name(vae.dtype)
    options["--budget"] = "" if budget is None else str(budget)
    options["--quality"] = "" if quality == Exact() else quality.name
    options |= _options_of_quality(quality)
    return {name: value for name, value in options.items() if value}


def _options_of_quality(quality: Quality) -> dict[str, str]:
    """Return the options for what differs from the quality's defaults. On the command line sizes are width first."""
    values = {each.name: getattr(quality, each.name) for each in fields(quality)}
    usual = type(quality)()
    return {
        f"--{name}": f"{value[1]}x{value[0]}" if isinstance(value, tuple) else str(value)
        for name, value in values.items()
        if value != getattr(usual, name)
    }


def _written(latents: Latents, folder: Path) -> Path | None:
    path = _new_path(folder)
    try:
        write_latent_file(path, latents, overwrite=False)
    except Exception as error:  # it must not take the place of the picture, or of the error of its decode
        LOG.warning("the latents are not kept: %s", getattr(error, "problem", None) or error)
        return None
    return path


def _tell(error: BaseException, path: Path, options: Mapping[str, str]) -> None:
    needed = {"--budget": "25%"} if isinstance(error, MemoryError) else {}
    if isinstance(error, BudgetError) and error.needed:
        needed = {"--budget": budget_of(error.needed)}
    error.add_note(f"The latents are kept. This decodes them:\n{_command(path, {**options, **needed})}")


def folder_of(keep: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder in which latents are kept; None if none are. Refuse one that does not exist."""
    if keep is None:
        return None
    folder = path_of(keep, "keep").absolute()
    if not os.path.isdir(folder):
        raise InputError(f"keep must be a folder that exists, it is {shown(str(keep))}", "Make it, or pass keep=None.")
    return folder


PLACES = {"circlestone-labs/Anima": "split_files/vae/qwen_image_vae.safetensors"}
"""Models whose VAE is neither in ``vae/`` nor at the top, and its file."""


def first_found(*models: str | os.PathLike[str] | None) -> str | None:
    """Return the first of these that `zvae decode --vae` can read here: a preset, a path, or a model in the cache."""
    return next((found for name in models if name and (found := _found(str(name))) is not None), None)


def _found(name: str) -> str | None:
    if name in PRESETS:
        return name
    if os.path.exists(name):
        inner = (os.path.join(name, place) for place in PLACES.values())
        return next(filter(os.path.exists, inner), name)
    if name in PLACES:
        file = find_in_cache((f"{name}/{PLACES[name]}",))
        return None if file is None else str(file)
    return name if name.count("/") == 1 and find_in_cache((name,)) is not None else None


def _new_path(folder: Path) -> Path:
    stem = f"latents-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (f"{stem}{f'-{number}' if number else ''}.safetensors" for number in range(1000))
    return next((folder / name for name in names if not (folder / name).exists()), folder / f"{stem}.safetensors")


def _command(path: Path, options: Mapping[str, str]) -> str:
    words = [word for option in options.items() for word in option]
    return shlex.join(["zvae", "decode", str(path), "-o", str(path.with_suffix(".png")), *words])
