"""Stores bands on disk: in files without names, or in those of a work folder."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, cast

from zvae_tiled.devices.kernels import Kernels, Span, T
from zvae_tiled.errors import OutOfMemoryError, OutputError
from zvae_tiled.files.work_folder import from_the_beginning
from zvae_tiled.shortage import ADVICE, is_shortage


class FileBands(Generic[T]):
    """Bands in a file."""

    def __init__(self, kernels: Kernels[T], folder: Path, file: BinaryIO, width: int, channels: int) -> None:
        self._kernels = kernels
        self._shape = (width, channels)
        self._folder = folder
        self._file = file
        self._rows = 0

    def append(self, rows: T) -> None:
        """Write rows at the end."""
        try:
            self._kernels.write(self._file, rows)
        except OSError as error:
            raise _failed(self._folder, error) from error
        self._rows += self._kernels.rows(rows)

    def read(
        self, rows: int, release: bool, first: int = 0, stop: int | None = None, exact: bool = True
    ) -> Iterator[T]:
        """Yield the map from top to bottom, in bands (see `Bands.read`)."""
        del release, exact  # the file is freed as a whole, by close()
        end = self._rows if stop is None else stop
        for start in range(first, end, rows):
            band = [self._read(start, min(rows, end - start))]
            yield band.pop()

    def follow(self, first: int, release: bool) -> Callable[[int], list[Span[T]]]:
        """Return a function that returns the next rows (see `Bands.follow`)."""
        del release
        starts = [first]

        def following(rows: int) -> list[Span[T]]:
            starts.append(starts.pop() + rows)
            return [(self._read(starts[0] - rows, rows), 0, rows)]

        return following

    def _read(self, start: int, rows: int) -> T:
        try:
            return self._kernels.read(self._file, start, rows, *self._shape)
        except OSError as error:
            raise _failed(self._folder, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SpillFiles:
    """Files without names, which the system deletes even after a crash, for the maps of one run.

    The file of a map that nothing reads any more serves a later one: its pages are in memory, where new ones take
    longer than what is written to them. All files together never take more than the maps did, where they took most.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._free: list[tuple[BinaryIO, int]] = []
        self._used = 0
        self._most = 0

    def take(self, numbers: int) -> BinaryIO:
        """Return a file for a map of so many numbers, at its beginning."""
        self._used += numbers
        self._most = max(self._most, self._used)
        try:
            file = self._fitting(numbers)
            while self._used + sum(size for _, size in self._free) > self._most:
                self._free.pop()[0].close()
            return file or cast(BinaryIO, tempfile.TemporaryFile(dir=self.folder, buffering=0))
        except OSError as error:
            raise _failed(self.folder, error) from error

    def _fitting(self, numbers: int) -> BinaryIO | None:
        """Return the free file that is nearest in size, at its beginning, cut off if it is larger; None without one."""
        if not self._free:
            return None
        nearest = file, had = min(self._free, key=lambda free: abs(free[1] - numbers))
        self._free.remove(nearest)
        if numbers < had:
            file.truncate(os.fstat(file.fileno()).st_size * numbers // had)
        file.seek(0)
        return file

    def give_back(self, file: BinaryIO, numbers: int) -> None:
        """Keep the file of a map that nothing reads any more."""
        self._used -= numbers
        self._free.append((file, numbers))

    def close(self) -> None:
        """Free the disk space of files that no map uses."""
        while self._free:
            self._free.pop()[0].close()


class DiskBands(FileBands[T]):
    """Bands in a file of `SpillFiles`."""

    def __init__(self, kernels: Kernels[T], files: SpillFiles, rows: int, width: int, channels: int) -> None:
        """Take a file for a map of `rows` rows."""
        self._numbers = rows * width * channels
        super().__init__(kernels, files.folder, files.take(self._numbers), width, channels)
        self._files = files
        self._closed = False

    def close(self) -> None:
        """Let a later map have the file."""
        if not self._closed:
            self._closed = True
            self._files.give_back(self._file, self._numbers)


class Rewritten(DiskBands[T]):
    """Bands whose rows are replaced by others, from the top on."""

    def rewind(self) -> None:
        """Write the next rows at the top."""
        self._file.seek(0)
        self._rows = 0


class SavedBands(FileBands[T]):
    """Bands in a file of a work folder, which stays there after a crash."""

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
            raise _failed(path.parent, error) from error
        super().__init__(kernels, path.parent, file, width, channels)
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
        file.seek(self._known)
        return cast(BinaryIO, file)

    def _lost(self, what: str) -> OutputError:
        return OutputError(
            f"{self.path} {what}, and the journal does not vouch for a later map",
            from_the_beginning(self.path.parent),
        )

    def sync(self) -> None:
        """Bring all rows to the disk."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _failed(self._folder, error) from error


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
        raise _failed(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"maps are to be spilled to {folder}, which cannot be written to", _ADVICE)
    if free < needed:
        raise OutputError(f"spilled maps need {needed:,} bytes on disk; {folder} has {free:,} free", _ADVICE)


_ADVICE = "Name another folder with spill_folder=, or raise the budget so that less is spilled."


def _failed(folder: Path, error: OSError) -> OutputError | OutOfMemoryError:
    if is_shortage(error):
        return OutOfMemoryError(f"memory ran out while maps were spilled to {folder}", ADVICE)
    what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return OutputError(f"maps cannot be spilled to {folder}: {what}", _ADVICE)
