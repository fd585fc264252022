"""`read_latent_file`: reads `Latents` for `VAE.decode` from a file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO

from zvae_tiled.checks import path_of, shown, truth
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import LatentsError, WeightsError
from zvae_tiled.files.opening import open_regular
from zvae_tiled.inputs.arrays import MAX_AXES
from zvae_tiled.inputs.latent_files.contents import Contents, read_contents
from zvae_tiled.inputs.latent_files.metadata import check_packed, other_texts, parse_metadata
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.shortage import CLOSE, shortages
from zvae_tiled.sinks.texts import MOST_BYTES, kept_texts

COMFYUI = "latent_format_version_0"
"""An empty tensor in ComfyUI's .latent files. It means that scale and shift of the latents beside it are undone."""

NORMALISED = 128
"""Channels of FLUX.2's packed latents. ComfyUI leaves them as a pipeline has them: their statistics are in the VAE."""

MAX_NAMES = 20
"""The most tensors that an error lists."""


@shortages("reading latents", CLOSE)
def read_latent_file(path: str | os.PathLike[str] | BinaryIO, name: str | None = None, texts: bool = True) -> Latents:
    """Read latents from a safetensors, .npy or .npz file. The content decides the format. Pickles are never opened.

    ``height``, ``width``, ``packed``, ``scaled`` and ``layout`` are read from a safetensors file's metadata, and from
    arrays without axes in a .npz. ComfyUI's .latent files are supported too.

    Args:
        path: The file, or a stream of bytes.
        name: The tensor's name. It is needed only if several tensors could be latents.
        texts: Whether other texts in a safetensors file's metadata (prompt, workflow, parameters) are read, which
            `VAE.decode_to_file` writes into the picture. One that is too long, or holds control characters, is left
            out with a warning of the logger ``zvae_tiled``.

    Returns:
        The latents in their stored type (float64 becomes float32), with the file's metadata.

    Raises:
        LatentsError: There is no such file, it has another format, it is damaged, or several tensors could be latents.
    """
    check_threads()
    wanted = truth("texts", texts)
    with _opened(path) as (file, source):
        contents = _contents(file, source)
        metadata = parse_metadata(contents.metadata, source)
        tensor = _tensor_name(contents, name, source)
        latents = contents.entries[tensor].load()
    if metadata.packed:
        check_packed(latents, source)
    undone = COMFYUI in contents.entries and not (latents.ndim == 4 and latents.shape[1] == NORMALISED)
    # Height and width mean packed tokens, except for latents of four axes: these are never packed.
    packed = latents.ndim < 4 if metadata.packed is None else metadata.packed
    return Latents(
        latents,
        metadata.layout,
        metadata.height if packed else None,
        metadata.width if packed else None,
        not undone if metadata.scaled is None else metadata.scaled,
        f"{source}: {tensor}" if tensor else source,
        kept_texts(other_texts(contents.metadata), MOST_BYTES, source) if wanted else {},
    )


@contextmanager
def _opened(path: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    if hasattr(path, "read"):
        source = str(getattr(path, "name", "the stream"))
        try:
            content = path.read()
        except MemoryError:
            raise
        except Exception as error:  # the caller's: a closed file's, or a broken download's
            raise LatentsError(f"{source} cannot be read: {error}", 'Open it as binary: open(path, "rb").') from error
        if not isinstance(content, bytes | bytearray | memoryview):
            problem = f"{source} must be a stream of bytes, its read() returns {type(content).__name__}"
            raise LatentsError(problem, 'Open it as binary: open(path, "rb").')
        yield io.BytesIO(content), source
        return
    place = path_of(path, "path")
    try:
        file, _ = open_regular(place)
    except WeightsError as error:
        advice = "Pass the path of a .safetensors, .npy or .npz file with latents."
        raise LatentsError(error.problem, advice) from error
    with io.BufferedReader(file) as buffered:
        yield buffered, str(place)


def _contents(file: BinaryIO, source: str) -> Contents:
    try:
        return read_contents(file, source)
    except OSError as error:  # a disk's error, or a file of the system that has no end
        problem = f"{source} cannot be read: {error.strerror or error}"
        raise LatentsError(problem, "Pass the path of a .safetensors, .npy or .npz file with latents.") from error


def _tensor_name(contents: Contents, name: str | None, source: str) -> str:
    if name is not None:
        if isinstance(name, str) and "" in contents.entries:
            problem = f"{source} holds one array, without a name, and {shown(name)} is asked for"
            raise LatentsError(problem, "Leave out name=.")
        if not isinstance(name, str) or name not in contents.entries:
            problem = f"{source} holds no tensor {shown(name)}; it holds {_listed(contents)}"
            raise LatentsError(problem, "Pass one of these names.")
        entry = contents.entries[name]
        if not entry.could_be_latents:
            problem = f"{source}: tensor {name!r:.80} is {entry}; latents are floats of 2 to {MAX_AXES} axes"
            raise LatentsError(problem, "Pass the name of another tensor.")
        return name
    candidates = [name for name, entry in contents.entries.items() if entry.could_be_latents]
    if len(candidates) != 1:
        what = "several tensors that could be latents" if candidates else "no latents, floats of two axes or more"
        raise LatentsError(
            f"{source} holds {what}; it holds {_listed(contents)}",
            "Pass the name of one of them as name=." if candidates else "Check how it was saved.",
        )
    return candidates[0]


def _listed(contents: Contents) -> str:
    # Names come from the file, so repr: it makes a terminal's escape codes visible.
    names = [
        f"{name!r:.80} {entry}" if name else str(entry) for name, entry in islice(contents.entries.items(), MAX_NAMES)
    ]
    more = f" and {len(contents.entries) - MAX_NAMES:,} more" if len(contents.entries) > MAX_NAMES else ""
    return (", ".join(names) or "nothing") + more
