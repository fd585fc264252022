"""An array in NumPy's format: its header, checked before it is believed, and its values."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from zvae_tiled.errors import InputError
from zvae_tiled.inputs.arrays import shape_text

MAGIC = b"\x93NUMPY"

MAX_HEADER_BYTES = 512
"""NumPy writes 118 bytes for an array of numbers; only tables of many columns need more."""

MAX_AXES = 64
"""What NumPy can hold."""

MAX_LENGTH = 1 << 63

PIECE = 1 << 20
"""Bytes read at a time."""

AGAIN = "Save it again."

_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4}
"""For each version of the format, how many bytes say how long the header is."""


@dataclass(frozen=True)
class Header:
    """What stands before the values.

    Attributes:
        shape: The array's shape.
        fortran: Whether the first axis varies fastest.
        dtype: The type of its values.
        nbytes: How many bytes the values take.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    nbytes: int


def read_header(file: IO[bytes], size: int, source: str, error: type[InputError]) -> Header:
    """Read a header, and compare what it claims with the bytes there are.

    Args:
        file: Open at the beginning of the array; afterwards, at the values.
        size: Bytes of header and values.
        source: What to call it in an error.
        error: The error to raise.

    Raises:
        InputError: It is no header, or claims other values than there are.
    """
    try:
        shape, fortran, dtype, start = _parsed(file)
    except Exception as cause:  # SyntaxError, MemoryError, ValueError, …: the header is Python source
        raise error(f"{source} has no sound .npy header: {cause!s:.200}", AGAIN) from cause
    nbytes, there = math.prod(shape) * dtype.itemsize, size - start
    if nbytes != there and not dtype.hasobject:
        raise error(f"{source} needs {nbytes:,} bytes for shape {shape_text(shape)}, it has {there:,}", AGAIN)
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
    fields = ast.literal_eval(file.read(length).decode("latin1").strip())
    shape, fortran, dtype = fields["shape"], fields["fortran_order"], np.lib.format.descr_to_dtype(fields["descr"])
    if not isinstance(shape, tuple) or len(shape) > MAX_AXES:
        raise ValueError(f"its shape is no tuple of at most {MAX_AXES} lengths")
    if not all(type(axis) is int and abs(axis) <= MAX_LENGTH for axis in shape) or type(fortran) is not bool:
        raise ValueError("its shape is no tuple of lengths, or its order is neither True nor False")
    return shape, fortran, dtype, len(start) + len(prefix) + length


def read_values(file: IO[bytes], header: Header, source: str, error: type[InputError]) -> np.ndarray[Any, Any]:
    """Read the values that stand behind a header.

    Raises:
        InputError: They cannot be read, or are fewer than the header says.
    """
    values = read_exactly(file, header.nbytes, source, error).view(header.dtype)
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def read_exactly(file: IO[bytes], count: int, source: str, error: type[InputError]) -> np.ndarray[Any, Any]:
    """Read so many bytes, piece by piece: they are held once, and never more of them than there are.

    Raises:
        InputError: They cannot be read, or are fewer.
    """
    data = np.empty(count, np.uint8)
    there = 0
    while there < count:
        try:
            piece = file.read(min(PIECE, count - there))
        except Exception as cause:  # a disk's error, a checksum, a stream that does not inflate
            raise error(f"{source} cannot be read: {cause!s:.200}", AGAIN) from cause
        if not piece:
            raise error(f"{source} ends after {there:,} of {count:,} bytes", "Is it still being written?")
        data[there : there + len(piece)] = np.frombuffer(piece, np.uint8)
        there += len(piece)
    return data
