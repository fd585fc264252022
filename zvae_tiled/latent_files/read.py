"""`read_latent_file`: from a file to latents, and to the arguments they are decoded with."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import mlx.core as mx

from zvae_tiled.arrays import MAX_AXES, path_of
from zvae_tiled.errors import LatentsError, WeightsError
from zvae_tiled.forks import check_threads
from zvae_tiled.latent_files.contents import Contents, read_contents
from zvae_tiled.latent_files.metadata import parse_metadata
from zvae_tiled.latents import Layout
from zvae_tiled.weights.opening import open_regular

COMFYUI = "latent_format_version_0"
"""An empty tensor in ComfyUI's .latent files: the latents beside it are the VAE's own, scale and shift undone."""

MAX_NAMES = 20
"""Tensors that an error lists."""


@dataclass(frozen=True)
class LatentFile:
    """Latents from a file, and what the file says of them.

    Attributes:
        latents: The latents, in the type they are stored in; float64 becomes float32.
        layout: ``NCHW`` or ``NHWC``, if the file says so; None is decoded as ``NCHW``, ComfyUI's latents too.
        height: The picture's height in pixels, if the file says so.
        width: The picture's width, likewise.
        packed: Whether they are packed FLUX tokens, if the file says so.
        scaled: Whether they are scaled and shifted, as pipelines hand them over.
        source: The file.
        name: The tensor's name in it; empty in a .npy.
    """

    latents: mx.array
    layout: Layout | None
    height: int | None
    width: int | None
    packed: bool | None
    scaled: bool
    source: str
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Arguments for `VAE.decode` and its siblings: ``vae.decode(file.latents, **file.options)``.

        Height and width mean packed tokens there; latents of four axes are none, whatever size stands beside them.
        """
        packed = self.latents.ndim < 4 if self.packed is None else self.packed
        size = {"height": self.height, "width": self.width} if packed else {}
        return {"layout": self.layout, "scaled": self.scaled, **size}


def read_latent_file(path: str | os.PathLike[str] | BinaryIO, name: str | None = None) -> LatentFile:
    """Read latents from a safetensors, .npy or .npz file, told by its content; pickles are never opened.

    ``height``, ``width``, ``packed``, ``scaled`` and ``layout`` are read from a safetensors file's metadata, and from
    arrays without axes in a .npz. ComfyUI's .latent files are known, too.

    Args:
        path: The file, or a stream of bytes.
        name: The tensor's name; needed only if several could be latents.

    Raises:
        LatentsError: There is no such file, it is of another format or damaged, or leaves open which tensor is meant.
    """
    check_threads()
    with _opened(path) as (file, source):
        contents = read_contents(file, source)
        metadata = parse_metadata(contents.metadata, source)
        chosen = _chosen(contents, name, source)
        latents = contents.entries[chosen].load()
    if metadata.packed and latents.ndim > 3:
        raise LatentsError(
            f"{source}: packed tokens have 2 or 3 axes, {chosen or 'the array'} has the shape {latents.shape}",
            "Write the file again without packed.",
        )
    return LatentFile(
        latents,
        metadata.layout,
        metadata.height,
        metadata.width,
        metadata.packed,
        COMFYUI not in contents.entries if metadata.scaled is None else metadata.scaled,
        source,
        chosen,
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
