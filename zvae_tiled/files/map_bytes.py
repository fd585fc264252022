"""The bytes of a map on disk: rows are appended, and read back from any place."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

_AT_ONCE = 1 << 30
"""The most bytes that one call writes or reads: macOS refuses 2^31."""


class MapBytes(Protocol):
    """The bytes of a map on disk."""

    def append(self, data: memoryview) -> None:
        """Write bytes behind those that were written before."""

    def fill(self, data: memoryview, offset: int) -> None:
        """Read as many bytes as `data` has, from the map's byte `offset` on."""


class FileBytes:
    """The bytes of a map that has a file of its own."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        """Append behind the first `size` bytes of a file."""
        self._file, self._size = file, size

    def append(self, data: memoryview) -> None:
        """Write bytes at the end."""
        write_at(self._file, data, self._size)
        self._size += len(data)

    def fill(self, data: memoryview, offset: int) -> None:
        """Read bytes (see `MapBytes.fill`)."""
        read_at(self._file, data, offset)


def write_at(file: BinaryIO, data: memoryview, offset: int) -> None:
    """Write bytes to a place in a file."""
    while data:
        count = os.pwrite(file.fileno(), data[:_AT_ONCE], offset)
        data, offset = data[count:], offset + count


def read_at(file: BinaryIO, data: memoryview, offset: int) -> None:
    """Read bytes from a place in a file, as many as `data` has."""
    while data:
        count = os.preadv(file.fileno(), [data[:_AT_ONCE]], offset)
        if not count:
            raise OSError("a map's file is shorter than what was written to it")
        data, offset = data[count:], offset + count
