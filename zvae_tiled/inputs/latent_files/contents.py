"""Lists the arrays of a file, without reading their values, and its metadata."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from zvae_tiled.errors import LatentsError
from zvae_tiled.inputs.arrays import MAX_AXES, shape_text, to_mlx
from zvae_tiled.inputs.latent_files.npy import (
    AGAIN,
    MAGIC,
    MAX_READ,
    Header,
    check_room,
    read_exactly,
    read_header,
    read_values,
)
from zvae_tiled.inputs.latent_files.npz import read_npz
from zvae_tiled.weights.content import CONVERT, CONVERT_LATENTS, NO_PICTURE, recognise
from zvae_tiled.weights.header import PREFIX_BYTES, HeaderError, TensorInfo, header_length, parse_header
from zvae_tiled.weights.values import SOURCES

ENCODE = "A picture has no latents to decode. zvae encode makes some: zvae encode PICTURE -o latents.safetensors"

BFLOAT16 = np.dtype("V2")
"""The type that MLX and ml_dtypes write to a .npy for bfloat16: two bytes without a meaning."""


@dataclass(frozen=True)
class Entry:
    """One array of a file.

    Attributes:
        dtype: Its type's name.
        shape: Its shape.
        floating: Whether its type is one that latents can have.
        load: Reads its values.
    """

    dtype: str
    shape: tuple[int, ...]
    floating: bool
    load: Callable[[], mx.array]

    @property
    def could_be_latents(self) -> bool:
        """Whether it can be latents, and not a setting, a marker or a table of integers."""
        return self.floating and 1 < len(self.shape) <= MAX_AXES and math.prod(self.shape) > 0

    def __str__(self) -> str:
        """Describe it for an error."""
        return f"{self.dtype:.40} {shape_text(self.shape)}"


@dataclass(frozen=True)
class Contents:
    """The arrays and the metadata of a file.

    Attributes:
        entries: Its arrays by name. The array of a .npy has the name "".
        metadata: Its metadata, as text by name.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_contents(file: BinaryIO, source: str) -> Contents:
    """Recognise the format from the content, and list the arrays of the file.

    Args:
        file: Open for reading, and seekable. It must stay open until the arrays are loaded.
        source: The file's name in an error.

    Raises:
        LatentsError: The file has another format, or is damaged.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(256)
    file.seek(0)
    if start.startswith(MAGIC):
        header = read_header(file, size, source, LatentsError)
        if header.dtype.hasobject:
            advice = 'Save them as floats: numpy.save("FILE.npy", latents.astype(numpy.float32)).'
            raise LatentsError(f"{source} holds Python objects in a pickle; {_FORMATS}", advice)
        return Contents({"": _entry(header, lambda: read_values(file, header, source, LatentsError), source)})
    if start.startswith(b"PK\x03\x04"):
        members, notes = read_npz(file, size, source)
        return Contents({name: _entry(*member, source) for name, member in members.items()}, notes)
    return _safetensors(file, size, start, source)


def _safetensors(file: BinaryIO, size: int, start: bytes, source: str) -> Contents:
    try:
        length = header_length(file.read(PREFIX_BYTES), size)
        raw = file.read(length)
        tensors = parse_header(raw, size - PREFIX_BYTES - length)
    except HeaderError as error:
        other = recognise(start)
        if other is not None:
            advice = {NO_PICTURE: ENCODE, CONVERT: CONVERT_LATENTS}.get(other[1], other[1])
            if not start:
                advice = "See what writes it: latents were expected."
            raise LatentsError(f"{source} is {other[0]}; {_FORMATS}", advice) from error
        problem = f"{source} is not a valid safetensors file: {error}; {_FORMATS}"
        raise LatentsError(problem, "Save it again.") from error
    metadata = json.loads(raw).get("__metadata__") or {}

    def entry(info: TensorInfo) -> Entry:
        def load() -> mx.array:
            if max(info.shape, default=0) > MAX_READ:
                shape = shape_text(info.shape)
                raise LatentsError(f"{source} has the shape {shape}; an axis has at most {MAX_READ:,} values", AGAIN)
            check_room(2 * (info.stop - info.start), source, LatentsError)  # MLX gets a copy
            file.seek(PREFIX_BYTES + length + info.start)
            values = read_exactly(file, info.stop - info.start, source, LatentsError).view(SOURCES[info.dtype])
            values = values.view(BFLOAT16) if info.dtype == "BF16" else values
            return _to_mlx(values, info.shape, source)

        return Entry(info.dtype, info.shape, info.dtype in SOURCES, load)

    return Contents({name: entry(info) for name, info in tensors.items()}, metadata)


def _entry(header: Header, read: Callable[[], np.ndarray[Any, Any]], source: str) -> Entry:
    floating = header.dtype.kind == "f" or header.dtype == BFLOAT16

    def load() -> mx.array:
        check_room(2 * header.nbytes, source, LatentsError)  # MLX gets a copy
        return _to_mlx(read(), header.shape, source)

    return Entry(str(header.dtype), header.shape, floating, load)


def _to_mlx(values: np.ndarray[Any, Any], shape: tuple[int, ...], source: str) -> mx.array:
    values = values.reshape(shape)
    if values.dtype == BFLOAT16:
        return mx.array(values.view("<u2")).view(mx.bfloat16)
    return to_mlx(values, source, LatentsError)


_FORMATS = "latents are read from safetensors, .npy and .npz"
