"""`write_latent_file`: latents, and what is to be known of them, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from zvae_tiled.checks import path_of
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import LatentsError, OutputError
from zvae_tiled.files.atomic import atomic_file, check_place
from zvae_tiled.inputs.arrays import to_mlx
from zvae_tiled.inputs.latent_files.contents import BFLOAT16
from zvae_tiled.inputs.latent_files.metadata import check_packed, parse_metadata
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.sinks.file import failed
from zvae_tiled.sinks.safetensors import safetensors_header

KINDS = (".safetensors", ".npy", ".npz")

_NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16"}


def latent_target(path: str | os.PathLike[str]) -> Path:
    """Check a file that latents are to be written to.

    Raises:
        OutputError: The place or the kind of file is not one that can be written.
    """
    target = path_of(path, "path")
    if target.suffix.lower() not in KINDS:
        raise OutputError(
            f"{target}: latents are written as {', '.join(KINDS)}, not as {target.suffix!r}", "Change the ending."
        )
    check_place(target)
    return target


def write_latent_file(path: str | os.PathLike[str], latents: Any, overwrite: bool = True) -> None:
    """Write latents so that `read_latent_file` knows all about them.

    Args:
        path: A ``.safetensors``, ``.npz`` or ``.npy`` file; a ``.npy`` has no place for more than the numbers.
        latents: `Latents`, or an array; the type is kept, float64 becomes float32.
        overwrite: Whether a file that is there is replaced, once the new one is whole.

    Raises:
        LatentsError: What is to be written contradicts itself, or is no array of floats.
        OutputError: The file cannot be written; nothing is left of it.
    """
    check_threads()
    target, given = latent_target(path), latents if isinstance(latents, Latents) else Latents(latents)
    array = to_mlx(given.array, "latents", LatentsError)
    said: dict[str, object] = {"layout": given.layout, "height": given.height, "width": given.width}
    said |= {"packed": True if given.height is not None else None, "scaled": given.scaled}
    texts = {name: str(value) for name, value in said.items() if value is not None}
    notes = {name: text if name == "layout" else text.lower() for name, text in texts.items()}
    said_so = parse_metadata(notes, str(target))
    if said_so.packed:
        check_packed(array, str(target))
    kind = target.suffix.lower()
    if kind == ".npy" and notes != {"scaled": "true"}:
        lost = ", ".join(name for name in notes if (name, notes[name]) != ("scaled", "true"))
        raise OutputError(f"{target}: a .npy has no place for {lost}", "Write a .safetensors or a .npz.")
    try:
        with atomic_file(target, overwrite) as file:
            _write(file, kind, array, notes)
    except OSError as error:
        raise failed(target, error, "Free space, or name another file.") from error


def _write(file: BinaryIO, kind: str, array: mx.array, notes: dict[str, str]) -> None:
    values = np.asarray(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)
    values = np.ascontiguousarray(values).reshape(array.shape)  # an array without axes would be given one
    if kind == ".safetensors":
        file.write(safetensors_header("latents", _NAMES[array.dtype], array.shape, values.nbytes, notes))
        file.write(values.tobytes())
        return
    values = values.view(BFLOAT16) if array.dtype == mx.bfloat16 else values
    if kind == ".npy":
        np.lib.format.write_array(file, values, allow_pickle=False)
    else:
        np.savez(file, allow_pickle=False, latents=values, **{name: np.array(text) for name, text in notes.items()})
