"""Reads arrays from a .npz, a zip archive. Sizes are compared with the file's size before anything is unpacked."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from zvae_tiled.errors import LatentsError
from zvae_tiled.inputs.latent_files.metadata import NAMES
from zvae_tiled.inputs.latent_files.npy import AGAIN, Header, read_header, read_values
from zvae_tiled.weights.content import CONVERT_LATENTS

MAX_MEMBERS = 500
"""The most arrays of a file."""

MAX_NOTE_BYTES = 1024
"""The most bytes of a metadata value: a number or a word."""

ALWAYS, RATIO = 8 << 20, 8
"""A file may unpack to the larger of: this many bytes, or this many per byte. Packed latents shrink by half at most."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The methods that NumPy writes. The others, bzip2 and LZMA, unpack without a bound."""

_ENCRYPTED = 1

Member = tuple[Header, Callable[[], np.ndarray[Any, Any]]]
"""An array's header, and a function that reads its values."""


def read_npz(file: BinaryIO, size: int, source: str) -> tuple[dict[str, Member], dict[str, str]]:
    """List the arrays of an archive.

    Args:
        file: Open for reading. It must stay open until the arrays are read.
        size: Its size in bytes.
        source: The file's name in an error.

    Returns:
        Its arrays by name, and its metadata as text by name.

    Raises:
        LatentsError: It is not a .npz, is damaged, or was not written by NumPy.
    """
    try:
        archive = zipfile.ZipFile(file)
        arrays = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        _check(arrays, source)
        members = {member.filename.removesuffix(".npy"): _member(archive, member, size, source) for member in arrays}
        notes = {
            name: _text(name, header, read, source)
            for name, (header, read) in members.items()
            if name in NAMES and header.shape == ()
        }
    except LatentsError:
        raise
    except Exception as error:  # for a damaged archive, zlib, struct, NumPy and zipfile raise errors of many types
        raise LatentsError(f"{source} is not a valid .npz file: {error!s:.200}", AGAIN) from error
    return {name: member for name, member in members.items() if name not in notes}, notes


def _check(members: list[zipfile.ZipInfo], source: str) -> None:
    if not members:
        raise LatentsError(f"{source} is a zip archive without a .npy in it, perhaps a PyTorch pickle", CONVERT_LATENTS)
    if len(members) > MAX_MEMBERS:
        problem = f"{source} holds {len(members):,} arrays; the limit is {MAX_MEMBERS:,}"
        raise LatentsError(problem, "Save the latents in a file of their own.")
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            raise LatentsError(f"{source}: {member.filename!r:.80} is encrypted", "Save it again, without a password.")
        if member.compress_type not in METHODS:
            problem = f"{source}: {member.filename!r:.80} is packed with zip method {member.compress_type}"
            raise LatentsError(problem, "Save it again, with numpy.savez or numpy.savez_compressed.")
    name, times = Counter(member.filename for member in members).most_common(1)[0]
    if times > 1:
        raise LatentsError(f"{source} holds {name!r:.80} {times:,} times", AGAIN)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int, source: str) -> Member:
    source = f"{source}: {member.filename!r:.80}"
    with archive.open(member) as opened:
        header = read_header(opened, member.file_size, source, LatentsError)

    def read() -> np.ndarray[Any, Any]:
        limit = max(ALWAYS, RATIO * size)
        if header.nbytes > limit:
            raise LatentsError(
                f"{source} would unpack to {header.nbytes:,} bytes; the limit for a file of {size:,} bytes is "
                f"{limit:,} bytes",
                "If it holds latents, save them with numpy.savez or zvae_tiled.write_latent_file, which do not pack.",
            )
        with archive.open(member) as opened:
            opened.read(member.file_size - header.nbytes)  # the header
            return read_values(opened, header, source, LatentsError)

    return header, read


def _text(name: str, header: Header, read: Callable[[], np.ndarray[Any, Any]], source: str) -> str:
    if header.dtype.hasobject or header.nbytes > MAX_NOTE_BYTES:
        problem = f"{source}: {name} must be text or a number of at most {MAX_NOTE_BYTES:,} bytes"
        raise LatentsError(f"{problem}, it is {header.dtype!s:.40}", AGAIN)
    return str(read())
