"""`Manifest`: a file with a line of JSON for each order that is done or has failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from zvae_tiled.cluster.row import Row
from zvae_tiled.errors import OutputError
from zvae_tiled.files.atomic import check_place
from zvae_tiled.files.sync import synced

NAME = "zvae-manifest.jsonl"


class Manifest:
    """A manifest, unbuffered. Each line is on disk before the next order is waited for.

    A new one is created with its first line. So nobody has to remove an empty one, to which another process may write.
    """

    def __init__(self, path: Path) -> None:
        """Take the path. Nothing is opened."""
        self._path = path
        self._place = path.absolute()  # the folder of the process may be another one when the first order ends
        self._file: FileIO | None = None

    def open(self) -> FileIO:
        """Open or create the file. A last line that a crash cut off is ended, so that all later ones are whole.

        Raises:
            OutputError: It cannot be written.
        """
        if self._file is not None:
            return self._file
        try:
            # A full disk refuses what is buffered once more, when it is closed.
            self._file = self._place.open("a+b", buffering=0)
            end = self._file.seek(0, os.SEEK_END)
            self._file.seek(max(0, end - 1))
            whole = self._file.read(1) in (b"", b"\n")
        except OSError as error:
            raise _failed(self._path, error) from error
        if not whole:
            self._write(self._file, b"\n")
        return self._file

    def add(self, row: Row) -> None:
        """Append a row.

        Raises:
            OutputError: It cannot be written.
        """
        line = row.to_json(datetime.now(UTC).isoformat(timespec="seconds")).encode() + b"\n"
        self._write(self.open(), line)

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._file is not None:
            self._file.close()

    def _write(self, file: FileIO, left: bytes) -> None:
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[file.write(left) :]
            synced(file.fileno())
        except OSError as error:
            raise _failed(self._path, error) from error


@contextmanager
def manifest(path: Path) -> Iterator[Manifest]:
    """Yield a manifest to append to. One that exists is opened now, a new one when its first row is added.

    Raises:
        OutputError: It cannot be written to.
    """
    check_place(path)
    lines = Manifest(path)
    try:
        if os.path.lexists(path):
            lines.open()
        yield lines
    finally:
        lines.close()


def _failed(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written: {error.strerror or error}", "Free space, or name another folder.")
