"""Stores bands on disk, in a file without a name: the system deletes it even after a crash."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Generic

from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.errors import OutputError


class DiskBands(Generic[T]):
    """Bands in a temporary file that is unlinked when it is created."""

    def __init__(self, kernels: Kernels[T], folder: Path, width: int, channels: int) -> None:
        self._kernels = kernels
        self._shape = (width, channels)
        self._folder = folder
        self._rows = 0
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, closed by close()
        except OSError as error:
            raise _failed(folder, error) from error

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
            try:
                fresh = self._kernels.read(self._file, start, min(rows, end - start), *self._shape)
            except OSError as error:
                raise _failed(self._folder, error) from error
            band = [fresh]
            del fresh
            yield band.pop()

    def close(self) -> None:
        """Free the disk space."""
        self._file.close()


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


def _failed(folder: Path, error: OSError) -> OutputError:
    what = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return OutputError(f"maps cannot be spilled to {folder}: {what}", _ADVICE)
