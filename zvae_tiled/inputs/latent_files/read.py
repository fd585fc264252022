"""`read_latent_file`: from a file to `Latents`, which `VAE.decode` takes as they are."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO

from zvae_tiled.checks import path_of
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import LatentsError, WeightsError
from zvae_tiled.files.opening import open_regular
from zvae_tiled.inputs.arrays import MAX_AXES
from zvae_tiled.inputs.latent_files.contents import Contents, read_contents
from zvae_tiled.inputs.latent_files.metadata import check_packed, parse_metadata
from zvae_tiled.inputs.latents import Latents

COMFYUI = "latent_format_version_0"
"""An empty tensor in ComfyUI's .latent files: the latents beside it are the VAE's own, scale and shift undone."""

MAX_NAMES = 20
"""Tensors that an error lists."""


def read_latent_file(path: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> Latents:
    """Read latents from a safetensors, .npy or .npz file, told by its content; pickles are never opened.

    ``height``, ``width``, ``packed``, ``scaled`` and ``layout`` are read from a safetensors file's metadata, and from
    arrays without axes in a .npz. ComfyUI's .latent files are known, too.

    Args:
        path: The file, or a stream of bytes.
        name: The tensor's name; needed only if several could be latents.

    Returns:
        The latents in the type they are stored in (float64 becomes float32), and what the file says of them.

    Raises:
        LatentsError: There is no such file, it is of another format or damaged, or leaves open which tensor is meant.
    """
    check_threads()
    with _opened(path) as (file, source):
        contents = read_contents(file, source)
        metadata = parse_metadata(contents.metadata, source)
        chosen = _chosen(contents, name, source)
        latents = contents.entries[chosen].load()
    if metadata.packed:
        check_packed(latents, source)
    # Height and width mean packed tokens; latents of four axes are none, whatever size stands beside them.
    packed = latents.ndim < 4 if metadata.packed is None else metadata.packed
    return Latents(
        latents,
        metadata.layout,
        metadata.height if packed else None,
        metadata.width if packed else None,
        COMFYUI not in contents.entries if metadata.scaled is None else metadata.scaled,
        f"{source}: {chosen}" if chosen else source,
    )


@contextmanager
def _opened(path: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    if hasattr(path, "read"):
        source, content = str(getattr(path, "name", "the stream")), path.read()
        if not isinstance(content, bytes | bytearray | memoryview):
            problem = f"{source}: a stream of bytes is needed, this one gives {type(content).__name__}"
            raise LatentsError(problem, 'Open it as binary: open(path, "rb").')
        yield io.BytesIO(content), source
        return
    place = path_of(path, "path")
    try:
        file, _ = open_regular(place)
    except WeightsError as error:
        advice = "Check the path: a .safetensors, .npy or .npz file with latents is needed."
        raise LatentsError(error.problem, advice) from error
    with io.BufferedReader(file) as buffered:
        yield buffered, str(place)


def _chosen(contents: Contents, name: str | None, source: str) -> str:
    if name is not None:
        if name not in contents.entries:
            problem = f"{source} holds no tensor {name!r:.80}; it holds {_listed(contents)}"
            raise LatentsError(problem, "Name one of them.")
        entry = contents.entries[name]
        if not entry.could_be_latents:
            problem = f"{source}: tensor {name!r:.80} is {entry}; latents are floats of 2 to {MAX_AXES} axes"
            raise LatentsError(problem, "Name another one.")
        return name
    candidates = [name for name, entry in contents.entries.items() if entry.could_be_latents]
    if len(candidates) != 1:
        what = "several tensors that could be latents" if candidates else "no latents, floats of two axes or more"
        raise LatentsError(
            f"{source} holds {what}; it holds {_listed(contents)}",
            "Say which: name=." if candidates else "Check how it was saved.",
        )
    return candidates[0]


def _listed(contents: Contents) -> str:
    # Names come from the file: repr shows what a terminal would obey.
    names = [f"{name!r:.80} {entry}" for name, entry in islice(contents.entries.items(), MAX_NAMES)]
    more = f" and {len(contents.entries) - MAX_NAMES:,} more" if len(contents.entries) > MAX_NAMES else ""
    return (", ".join(names) or "nothing") + more
