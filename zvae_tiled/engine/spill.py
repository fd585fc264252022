"""Stores bands on disk: in a file without a name, or in those of a work folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, cast

from zvae_tiled.devices.kernels import Kernels, Span, T
from zvae_tiled.engine.spill_file import SpilledBytes, SpillFile
from zvae_tiled.errors import OutOfMemoryError, OutputError
from zvae_tiled.files.map_bytes import FileBytes, MapBytes
from zvae_tiled.files.sync import synced
from zvae_tiled.files.work_folder import GO_ON, from_the_beginning
from zvae_tiled.shortage import ADVICE, is_shortage

_SPILLED = "Name another folder with spill_folder=, or raise the budget so that less is spilled."
"""The advice where spilled maps have no place."""


class FileBands(Generic[T]):
    """Bands in a file. A subclass says what becomes of rows that were read for the last time, and closes it."""

    ADVICE = _SPILLED
    """The advice where a map cannot be stored."""

    def __init__(self, kernels: Kernels[T], folder: Path, place: MapBytes, width: int, channels: int) -> None:
        self._kernels = kernels
        self._shape = (width, channels)
        self._folder = folder
        self._place = place
        self._rows = 0

    def append(self, rows: T) -> None:
        """Write rows at the end."""
        try:
            self._kernels.write(self._place, rows)
        except OSError as error:
            raise _failed(self._folder, error, self.ADVICE, "stored") from error
        self._rows += self._kernels.rows(rows)

    def read(
        self, rows: int, release: bool, first: int = 0, stop: int | None = None, exact: bool = True
    ) -> Iterator[T]:
        """Yield the map from top to bottom, in bands (see `Bands.read`)."""
        del exact  # nothing is stored as strips
        end = self._rows if stop is None else stop
        for start in range(first, end, rows):
            band = [self._read(start, min(rows, end - start), release)]
            yield band.pop()

    def follow(self, first: int, release: bool) -> Callable[[int], list[Span[T]]]:
        """Return a function that returns the next rows (see `Bands.follow`)."""
        starts = [first]

        def following(rows: int) -> list[Span[T]]:
            starts.append(starts.pop() + rows)
            return [(self._read(starts[0] - rows, rows, release), 0, rows)]

        return following

    def _read(self, start: int, rows: int, release: bool) -> T:
        try:
            read = self._kernels.read(self._place, start, rows, *self._shape)
        except OSError as error:
            raise _failed(self._folder, error, self.ADVICE, "read") from error
        if release:
            self._release(start + rows)
        return read

    def _release(self, stop: int) -> None:
        """Let later maps have the place of the rows before `stop`, if they share the file."""


class DiskBands(FileBands[T]):
    """Bands in a `SpillFile`."""

    def __init__(self, kernels: Kernels[T], file: SpillFile, width: int, channels: int) -> None:
        """Begin with no rows."""
        self._bytes = SpilledBytes(file)
        super().__init__(kernels, file.folder, self._bytes, width, channels)

    def _release(self, stop: int) -> None:
        self._bytes.drop(stop * self._bytes.size // self._rows)

    def close(self) -> None:
        """Let later maps have the bytes that remain."""
        self._bytes.close()


class Rewritten(DiskBands[T]):
    """Bands whose rows are replaced by others, from the top on."""

    def rewind(self) -> None:
        """Write the next rows at the top."""
        self._bytes.rewind()
        self._rows = 0


class SavedBands(FileBands[T]):
    """Bands in a file of a work folder, which stays there after a crash."""

    ADVICE = GO_ON

    def __init__(
        self, kernels: Kernels[T], path: Path, width: int, channels: int, itemsize: int, rows: int = 0
    ) -> None:
        """Create the file, or open it with the rows that are known to be on disk, and cut off all others.

        Args:
            kernels: The device.
            path: The file.
            width: Columns of the map.
            channels: Channels of the map.
            itemsize: Bytes of a number.
            rows: Rows that are on disk.
        """
        self.path = path
        self._known = rows * width * channels * itemsize
        try:
            file = self._opened()
        except OSError as error:
            raise _failed(path.parent, error, self.ADVICE, "stored") from error
        super().__init__(kernels, path.parent, FileBytes(file, self._known), width, channels)
        self._file = file
        self._rows = rows

    @property
    def rows(self) -> int:
        """Rows that were appended, and rows that were there before."""
        return self._rows

    def _opened(self) -> BinaryIO:
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | (0 if self._known else os.O_CREAT), 0o666)
        except FileNotFoundError as error:
            raise self._lost("is gone") from error
        file = os.fdopen(handle, "r+b", buffering=0)
        if os.fstat(handle).st_size < self._known:
            file.close()
            raise self._lost(f"has no longer the {self._known:,} bytes that were written")
        file.truncate(self._known)
        return cast(BinaryIO, file)

    def _lost(self, what: str) -> OutputError:
        return OutputError(
            f"{self.path} {what}, and the journal does not vouch for a later map",
            from_the_beginning(self.path.parent),
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def sync(self) -> None:
        """Bring all rows to the disk."""
        try:
            synced(self._file.fileno())
        except OSError as error:
            raise _failed(self._folder, error, self.ADVICE, "stored") from error


def check_free_space(folder: Path, needed: int) -> None:
    """Check that a folder has room for spilled maps.

    Raises:
        OutputError: The folder cannot be written to, or has too little free space.
    """
    if not needed:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _failed(folder, error, _SPILLED, "stored") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"maps are to be spilled to {folder}, which cannot be written to", _SPILLED)
    if free < needed:
        raise OutputError(f"spilled maps need {needed:,} bytes on disk; {folder} has {free:,} free", _SPILLED)


def _failed(folder: Path, error: OSError, advice: str, done: str) -> OutputError | OutOfMemoryError:
    if is_shortage(error):
        return OutOfMemoryError(f"memory ran out while maps were written to {folder}, or read from it", ADVICE)
    what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return OutputError(f"maps in {folder} cannot be {done}: {what}", advice)
