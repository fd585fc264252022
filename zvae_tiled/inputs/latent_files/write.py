"""`write_latent_file`: writes latents and their metadata, whole or not at all."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from zvae_tiled.checks import path_of, truth
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import LatentsError, OutputError
from zvae_tiled.files.atomic import atomic_file, check_place, wrong_ending
from zvae_tiled.inputs.arrays import to_mlx
from zvae_tiled.inputs.latent_files.contents import BFLOAT16
from zvae_tiled.inputs.latent_files.metadata import check_packed, other_texts, parse_metadata
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.shortage import CLOSE, shortages
from zvae_tiled.sinks.file import failed
from zvae_tiled.sinks.room import check_files_fit, folder_of
from zvae_tiled.sinks.safetensors import safetensors_header
from zvae_tiled.sinks.texts import MOST_BYTES, check_texts, kept_texts

KINDS = (".safetensors", ".npy", ".npz")

HEADER = 2048
"""The most bytes of a file without texts that are no values."""

FREE = "Free space, or name another file."

_NAMES = {mx.float32: "F32", mx.float16: "F16", mx.bfloat16: "BF16"}


def latent_target(path: str | os.PathLike[str]) -> Path:
    """Check the path of a file for latents.

    Raises:
        OutputError: The path cannot be written to, or its ending is not that of a format for latents.
    """
    target = path_of(path, "path")
    if target.suffix.lower() not in KINDS:
        raise wrong_ending(target, "latents", KINDS)
    check_place(target)
    return target


def check_latents_fit(target: Path, values: int) -> None:
    """Refuse, before any work, a file for so many bytes of values that its disk does not hold.

    Raises:
        OutputError: There is too little free space.
    """
    check_files_fit(target, values + HEADER, 0, folder_of(target), advice=FREE)


@shortages("writing latents", CLOSE)
def write_latent_file(path: str | os.PathLike[str], latents: Any, overwrite: bool = True) -> None:
    """Write latents with all metadata that `read_latent_file` reads.

    Args:
        path: A ``.safetensors``, ``.npz`` or ``.npy`` file. A ``.npy`` has no place for metadata. Only a
            ``.safetensors`` holds `Latents.texts`.
        latents: `Latents`, or an array. The type is kept, but float64 becomes float32.
        overwrite: Whether an existing file is replaced, when the new one is complete.

    Raises:
        LatentsError: The metadata contradicts itself, or `latents` is not an array of floats.
        OutputError: The file cannot be written. No part of it is left.
    """
    check_threads()
    truth("overwrite", overwrite)
    target, wrapped = latent_target(path), latents if isinstance(latents, Latents) else Latents(latents)
    array = to_mlx(wrapped.array, "latents", LatentsError)
    values: dict[str, object] = {"layout": wrapped.layout, "height": wrapped.height, "width": wrapped.width}
    values |= {"packed": True if wrapped.height is not None else None, "scaled": truth("scaled", wrapped.scaled)}
    texts = {name: str(value) for name, value in values.items() if value is not None}
    notes = {name: text if name == "layout" else text.lower() for name, text in texts.items()}
    if parse_metadata(notes, str(target)).packed:
        check_packed(array, str(target))
    kind = target.suffix.lower()
    if kind == ".npy" and notes != {"scaled": "true"}:
        lost = ", ".join(name for name in notes if (name, notes[name]) != ("scaled", "true"))
        raise OutputError(f"{target}: a .npy has no place for {lost}", "Write a .safetensors or a .npz.")
    check_texts(wrapped.texts)
    texts = kept_texts(other_texts(wrapped.texts), MOST_BYTES, str(target))
    try:
        with atomic_file(target, overwrite) as file:
            _write(file, kind, array, notes, texts)
    except OSError as error:
        raise failed(target, error, FREE) from error


def _write(file: BinaryIO, kind: str, array: mx.array, notes: dict[str, str], texts: dict[str, str]) -> None:
    values = np.asarray(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)
    values = np.ascontiguousarray(values).reshape(array.shape)  # ascontiguousarray adds an axis to a scalar
    if kind == ".safetensors":
        file.write(safetensors_header("latents", _NAMES[array.dtype], array.shape, values.nbytes, texts | notes))
        file.write(values.tobytes())
        return
    values = values.view(BFLOAT16) if array.dtype == mx.bfloat16 else values
    if kind == ".npy":
        np.lib.format.write_array(file, values, allow_pickle=False)
    else:
        _write_npz(file, {"latents": values, **{name: np.array(text) for name, text in notes.items()}})


def _write_npz(file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
    """Write what `np.savez` writes. That of NumPy 2.0 takes `allow_pickle` for the name of an array."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
