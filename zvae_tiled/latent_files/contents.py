"""What a file holds: its arrays, not read yet, and the text beside them."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from zvae_tiled.arrays import to_mlx
from zvae_tiled.errors import LatentsError
from zvae_tiled.latent_files.metadata import NAMES
from zvae_tiled.weights.content import CONVERT, recognise
from zvae_tiled.weights.header import PREFIX_BYTES, HeaderError, TensorInfo, header_length, parse_header
from zvae_tiled.weights.values import SOURCES

BFLOAT16 = np.dtype("V2")
"""What MLX and ml_dtypes write bfloat16 as into a .npy: two bytes without a meaning."""


@dataclass(frozen=True)
class Entry:
    """One array of a file.

    Attributes:
        dtype: Its type's name.
        shape: Its shape.
        floating: Whether it is of a type latents can have.
        load: Reads it.
    """

    dtype: str
    shape: tuple[int, ...]
    floating: bool
    load: Callable[[], mx.array]

    @property
    def could_be_latents(self) -> bool:
        """Whether it is more than a setting, a marker or a table of integers."""
        return self.floating and len(self.shape) > 1 and math.prod(self.shape) > 0


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        entries: Its arrays by name; that of a .npy has none.
        metadata: What it says of them, as text.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_contents(file: BinaryIO, source: str) -> Contents:
    """Tell the format by the content, and look into the file.

    Args:
        file: Open for reading, and seekable; it must stay open until what is wanted is loaded.
        source: What to call it in an error.

    Raises:
        LatentsError: It is none of the formats, or damaged.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(256)
    file.seek(0)
    if start.startswith(b"\x93NUMPY"):
        entry = _npy_entry(file, size, source, file.read)
        if entry.dtype == "object":
            raise LatentsError(f"{source} holds Python objects, a pickle; {_WANTED}", CONVERT)
        return Contents({"": entry})
    if start.startswith(b"PK\x03\x04"):
        return _npz(file, source)
    return _safetensors(file, size, start, source)


def _safetensors(file: BinaryIO, size: int, start: bytes, source: str) -> Contents:
    try:
        length = header_length(file.read(PREFIX_BYTES), size)
        raw = file.read(length)
        tensors = parse_header(raw, size - PREFIX_BYTES - length)
    except HeaderError as error:
        known = recognise(start)
        if known is not None:
            raise LatentsError(f"{source} is {known[0]}; {_WANTED}", known[1]) from error
        raise LatentsError(f"{source} is no sound safetensors file: {error}; {_WANTED}", "Save it again.") from error
    metadata = json.loads(raw).get("__metadata__") or {}

    def entry(info: TensorInfo) -> Entry:
        def load() -> mx.array:
            file.seek(PREFIX_BYTES + length + info.start)
            values = np.frombuffer(_exactly(file.read, info.stop - info.start, source), SOURCES[info.dtype])
            return _to_mlx(values.view(BFLOAT16) if info.dtype == "BF16" else values, info.shape, source)

        return Entry(info.dtype, info.shape, info.dtype in SOURCES, load)

    return Contents({name: entry(info) for name, info in tensors.items()}, metadata)


def _npz(file: BinaryIO, source: str) -> Contents:
    entries, metadata = {}, {}
    try:
        archive = zipfile.ZipFile(file)
        members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        for member in members:
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as opened:
                entry = _npy_entry(opened, member.file_size, source, _reader(archive, member))
                if entry.shape == () and name in NAMES:
                    metadata[name] = str(np.lib.format.read_array(_from_start(archive, member), allow_pickle=False))
                else:
                    entries[name] = entry
    except LatentsError:
        raise
    except Exception as error:  # a damaged archive raises what zlib, struct, NumPy and zipfile like
        raise LatentsError(f"{source} is no sound .npz file: {error}", "Save it again.") from error
    if not members:
        raise LatentsError(f"{source} is a zip archive without a .npy in it, perhaps a PyTorch pickle", CONVERT)
    return Contents(entries, metadata)


def _from_start(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    return io.BytesIO(archive.read(member))


def _reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[int], bytes]:
    """Return what reads a member's last bytes; it was closed after its header was read."""

    def read(count: int) -> bytes:
        return archive.read(member)[-count:]  # all of it: the checksum is of the whole

    return read


def _npy_entry(file: Any, size: int, source: str, read: Callable[[int], bytes]) -> Entry:
    """Read the header of an array in NumPy's format; `read` will give the bytes behind it."""
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](file)
    except Exception as error:  # SyntaxError, KeyError, struct.error, …: the header is Python source
        raise LatentsError(f"{source} has no sound .npy header: {error}", "Save it again.") from error
    needed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if needed != there and not dtype.hasobject:
        raise LatentsError(f"{source} needs {needed:,} bytes for shape {shape}, it has {there:,}", "Save it again.")

    def load() -> mx.array:
        values = np.frombuffer(_exactly(read, needed, source), dtype)
        return _to_mlx(values, shape, source, "F" if fortran else "C")

    return Entry(str(dtype), shape, dtype.kind == "f" or dtype == BFLOAT16, load)


def _exactly(read: Callable[[int], bytes], count: int, source: str) -> bytes:
    try:
        data = read(count)
    except Exception as error:  # a disk's error, a checksum, a stream that does not inflate
        raise LatentsError(f"{source} cannot be read: {error}", "Save it again.") from error
    if len(data) != count:
        raise LatentsError(f"{source} ends after {len(data):,} of {count:,} bytes", "Is it still being written?")
    return data


def _to_mlx(values: np.ndarray[Any, Any], shape: tuple[int, ...], source: str, order: Any = "C") -> mx.array:
    if values.dtype == BFLOAT16:
        return mx.array(values.view("<u2").reshape(shape, order=order)).view(mx.bfloat16)
    return to_mlx(values.reshape(shape, order=order), source, LatentsError)


_WANTED = "latents are read from safetensors, .npy and .npz"
