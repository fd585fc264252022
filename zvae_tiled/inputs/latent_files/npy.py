"""Reads an array in NumPy's format: checks the header first, then reads the values."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from zvae_tiled.errors import InputError
from zvae_tiled.inputs.arrays import SMALL, shape_text
from zvae_tiled.planner.budget import available_memory
from zvae_tiled.wording import size as size_of

MAGIC = b"\x93NUMPY"

MAX_HEADER_BYTES = 512
"""The longest header that is read. NumPy writes 118 bytes for an array of numbers, more for tables of many columns."""

MAX_AXES = 64
"""The most axes of a NumPy array."""

MAX_LENGTH = 1 << 63

MAX_READ = (1 << 31) - 1
"""The longest axis of an MLX array."""

PIECE = 1 << 20
"""Bytes read at a time."""

AGAIN = "Save it again."

_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4}
"""Size in bytes of the header's length field, by version of the format."""


@dataclass(frozen=True)
class Header:
    """The header of an array.

    Attributes:
        shape: The array's shape.
        fortran: Whether the first axis varies fastest.
        dtype: The type of its values.
        nbytes: Number of bytes of the values.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    nbytes: int


def read_header(file: IO[bytes], size: int, source: str, error: type[InputError]) -> Header:
    """Read a header, and compare its shape and type with the file's size.

    Args:
        file: Open at the beginning of the array. Afterwards it is at the values.
        size: Bytes of header and values.
        source: The file's name in an error.
        error: The error to raise.

    Raises:
        InputError: It is not a valid header, or the values need more or fewer bytes than there are.
    """
    try:
        shape, fortran, dtype, start = _parsed(file)
    except Exception as cause:  # SyntaxError, MemoryError, ValueError, …: the header is Python source
        raise error(f"{source} has no valid .npy header: {cause!s:.200}", AGAIN) from cause
    nbytes, present = math.prod(shape) * dtype.itemsize, size - start
    if nbytes != present and not dtype.hasobject:
        raise error(f"{source} needs {nbytes:,} bytes for shape {shape_text(shape)}, it has {present:,}", AGAIN)
    if nbytes and max(shape, default=0) > MAX_READ:
        raise error(f"{source} has the shape {shape_text(shape)}; an axis has at most {MAX_READ:,} values", AGAIN)
    return Header(shape, fortran, dtype, nbytes)


def _parsed(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    start = file.read(len(MAGIC) + 2)
    version = start[len(MAGIC) :]
    if not start.startswith(MAGIC) or version not in _LENGTH_BYTES:
        raise ValueError(f"it begins with {start!r}")
    prefix = file.read(_LENGTH_BYTES[version])
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"it claims {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
    fields = ast.literal_eval(file.read(length).decode("latin1"))
    if fields.keys() != {"shape", "fortran_order", "descr"}:
        raise ValueError(f"its fields are {sorted(map(str, fields))}, not descr, fortran_order and shape")
    shape, fortran, dtype = fields["shape"], fields["fortran_order"], np.lib.format.descr_to_dtype(fields["descr"])
    if not isinstance(shape, tuple) or len(shape) > MAX_AXES:
        raise ValueError(f"its shape is not a tuple of at most {MAX_AXES} lengths")
    if not all(type(axis) is int and 0 <= axis <= MAX_LENGTH for axis in shape) or type(fortran) is not bool:
        raise ValueError("its shape is not a tuple of lengths, or its fortran_order is neither True nor False")
    return shape, fortran, dtype, len(start) + len(prefix) + length


def read_values(file: IO[bytes], header: Header, source: str, error: type[InputError]) -> np.ndarray[Any, Any]:
    """Read the values after a header.

    Raises:
        InputError: They cannot be read, or there are fewer than the header says.
    """
    values = read_exactly(file, header.nbytes, source, error).view(header.dtype)
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def read_into(
    values: np.ndarray[Any, Any], file: IO[bytes], header: Header, source: str, error: type[InputError]
) -> None:
    """Read the values after a header into an array of the same shape and any type, piece by piece.

    Raises:
        InputError: As in `read_values`.
    """
    with np.errstate(over="ignore"):  # of float64 as float32
        if header.fortran:
            values[...] = read_values(file, header, source, error)
            return
        flat, step = values.reshape(-1), max(1, PIECE // header.dtype.itemsize)
        for start in range(0, flat.size, step):
            piece = flat[start : start + step]
            piece[...] = read_exactly(file, piece.size * header.dtype.itemsize, source, error).view(header.dtype)


def read_exactly(file: IO[bytes], count: int, source: str, error: type[InputError]) -> np.ndarray[Any, Any]:
    """Read `count` bytes, piece by piece, so that they are held in memory only once.

    Raises:
        InputError: They cannot be read, or there are fewer.
    """
    data = np.empty(count, np.uint8)
    done = 0
    while done < count:
        try:
            piece = file.read(min(PIECE, count - done))
        except Exception as cause:  # a disk's error, a checksum, a stream that does not inflate
            raise error(f"{source} cannot be read: {cause!s:.200}", AGAIN) from cause
        if not piece:
            raise error(f"{source} ends after {done:,} of {count:,} bytes", "Is it still being written?")
        data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return data


def check_room(needed: int, source: str, error: type[InputError]) -> None:
    """Refuse what memory has no room for: a file full of holes takes no space on the disk, whatever it claims.

    Raises:
        InputError: So many bytes are not available.
    """
    if needed > SMALL and needed > (memory := available_memory()).size:
        raise error(
            f"reading {source} takes {size_of(needed)}, {memory}",
            "Is it the right file? Else free some memory, or save a part of it.",
        )
