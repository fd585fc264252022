"""Pictures in files, row by row: PNG and .npy. A file appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import mlx.core as mx
import numpy as np

from zvae_tiled.arrays import path_of
from zvae_tiled.errors import OutputError
from zvae_tiled.sinks.base import Sink


class _Format(Protocol):
    """How rows become bytes."""

    def head(self) -> bytes:
        """Return what stands before the first row."""

    def rows(self, rows: mx.array) -> bytes:
        """Return the next rows."""

    def tail(self) -> bytes:
        """Return what stands behind the last row."""


class _Npy:
    """One float32 array (H, W, C), as numpy.load reads it, also memory-mapped."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape

    def head(self) -> bytes:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {self._shape}, }}"
        text += " " * (-(len(text) + 11) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()

    def rows(self, rows: mx.array) -> bytes:
        return np.asarray(rows.astype(mx.float32)).astype("<f4", copy=False).tobytes()

    def tail(self) -> bytes:
        return b""


_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour types by channels: grey, grey with alpha, RGB, RGB with alpha."""


class _Png:
    """8 bits a channel, each row stored as its difference from the one above."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape
        self._deflate = zlib.compressobj(6)
        self._above = np.zeros(shape[1] * shape[2], np.uint8)

    def head(self) -> bytes:
        height, width, channels = self._shape
        header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)

    def rows(self, rows: mx.array) -> bytes:
        data = b"".join(self._row(rows[:, i]) for i in range(rows.shape[1]))
        return _chunk(b"IDAT", data) if data else b""

    def _row(self, row: mx.array) -> bytes:
        levels = np.asarray(mx.round(row * 255).astype(mx.uint8)).reshape(-1)
        filtered = np.full(levels.size + 1, 2, np.uint8)  # 2: the filter "up"
        np.subtract(levels, self._above, out=filtered[1:])
        self._above = levels
        return self._deflate.compress(filtered.tobytes())

    def tail(self) -> bytes:
        return _chunk(b"IDAT", self._deflate.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


FORMATS: dict[str, Callable[[tuple[int, int, int]], _Format]] = {".npy": _Npy, ".png": _Png}


class FileSink:
    """Writes each picture beside its final name, and renames it when it is whole."""

    def __init__(self, paths: list[Path], shape: tuple[int, int, int]) -> None:
        """Write pictures (H, W, C), one a path."""
        self._paths = paths
        self._shape = shape
        self._left = 0
        self._format: _Format
        self._temporary: Path | None = None
        self._finished: list[tuple[Path, Path]] = []

    @property
    def host_bytes(self) -> int:
        """A row and what it is compressed to: nothing that counts."""
        return 0

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""
        path = self._paths[picture]
        try:
            if not self._left:
                self._begin(path)
            self._file.write(self._format.rows(rows))
            self._left -= rows.shape[1]
            if not self._left:
                self._end(path)
        except OSError as error:
            raise _failed(path, error) from error

    def close(self) -> None:
        """Give all files their names."""
        for temporary, path in self._finished:
            try:
                temporary.replace(path)
                _sync_folder(path.parent)
            except OSError as error:
                raise _failed(path, error) from error
        self._finished.clear()

    def abort(self) -> None:
        """Remove what was written."""
        if self._temporary is not None:
            with contextlib.suppress(OSError):  # a full disk refuses once more what is still buffered
                self._file.close()
        for temporary in [self._temporary, *(temporary for temporary, _ in self._finished)]:
            if temporary is not None:
                temporary.unlink(missing_ok=True)

    def _begin(self, path: Path) -> None:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        self._temporary = Path(name)
        self._file = os.fdopen(handle, "wb")
        os.chmod(name, 0o666 & ~_umask())
        self._left = self._shape[0]
        self._format = FORMATS[path.suffix.lower()](self._shape)
        self._file.write(self._format.head())

    def _end(self, path: Path) -> None:
        self._file.write(self._format.tail())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        assert self._temporary is not None
        self._finished.append((self._temporary, path))
        self._temporary = None


def file_sink(path: str | os.PathLike[str], batch: int, shape: tuple[int, int, int]) -> Sink:
    """Return a sink that writes pictures (H, W, C) to a file, or to numbered files if there are several.

    Raises:
        OutputError: The place or the kind of file is not one that can be written.
    """
    target = path_of(path, "path")
    if target.suffix.lower() not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise OutputError(f"{target}: pictures are written as {known}, not as {target.suffix!r}", "Change the ending.")
    if shape[2] not in _COLOURS:
        raise OutputError(f"{target}: pictures of {shape[2]} channels fit no file kind known here", "Ask for an array.")
    if target.is_dir() or not target.parent.is_dir():
        raise OutputError(f"{target} is a folder, or its folder does not exist", "Name a file in a folder that exists.")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"{target.parent} cannot be written to", "Name a file in another folder.")
    names = [target] if batch == 1 else [target.with_stem(f"{target.stem}-{i}") for i in range(batch)]
    return FileSink(names, shape)


def _failed(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}",
        "The latents are untouched: free space, and decode again.",
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
