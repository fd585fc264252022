"""`Manifest`: a file with a line of JSON for each order that is done or has failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from zvae_tiled.cluster.row import Row
from zvae_tiled.errors import OutputError
from zvae_tiled.files.atomic import check_place

NAME = "zvae-manifest.jsonl"


class Manifest:
    """An open manifest, unbuffered. Each line is on disk before the next order is waited for."""

    def __init__(self, path: Path, file: FileIO) -> None:
        """Take the open file."""
        self._path = path
        self._file = file

    def add(self, row: Row) -> None:
        """Append a row.

        Raises:
            OutputError: It cannot be written.
        """
        self._write(row.to_json(datetime.now(UTC).isoformat(timespec="seconds")).encode() + b"\n")

    def end_last(self) -> None:
        """End a last line that a crash cut off.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            end = self._file.seek(0, os.SEEK_END)
            self._file.seek(max(0, end - 1))
            whole = self._file.read(1) in (b"", b"\n")
        except OSError as error:
            raise _failed(self._path, error) from error
        if not whole:
            self._write(b"\n")

    def _write(self, left: bytes) -> None:
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _failed(self._path, error) from error


@contextmanager
def manifest(path: Path) -> Iterator[Manifest]:
    """Open a manifest to append to. A last line that a crash cut off is ended first, so that all later ones are whole.

    A new one in which nothing is noted is removed again.

    Raises:
        OutputError: It cannot be written to.
    """
    check_place(path)
    new = not os.path.lexists(path)
    try:
        file = path.open("a+b", buffering=0)  # a full disk refuses what is buffered once more, when it is closed
    except OSError as error:
        raise _failed(path, error) from error
    try:
        with file:
            lines = Manifest(path, file)
            lines.end_last()
            yield lines
    finally:
        if new:
            _remove_empty(path)


def _remove_empty(path: Path) -> None:
    """Remove a manifest in which nothing was noted: no order ended."""
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def _failed(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written: {error.strerror or error}", "Free space, or name another folder.")
