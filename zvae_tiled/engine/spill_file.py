"""`SpillFile`: one file for all maps that a decode spills. Bytes that nothing reads any more serve later rows."""

from __future__ import annotations

import tempfile
from bisect import bisect_right, insort
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from zvae_tiled.files.map_bytes import read_at, write_at

Range = tuple[int, int]
"""Bytes of the file: the first, and the one to stop before."""


class SpillFile:
    """A file without a name, which the system deletes even after a crash.

    It is never larger than what lay in it at once: rows are written where others were that nothing reads any more.
    That is faster too, for the system need not find new pages.
    """

    def __init__(self, folder: Path) -> None:
        """Take a folder. The file is made when the first row is written."""
        self.folder = folder
        self._file: BinaryIO | None = None
        self._free: list[Range] = []
        self._end = 0

    @property
    def file(self) -> BinaryIO:
        """The file."""
        if self._file is None:
            self._file = _nameless(self.folder)
        return self._file

    def take(self, count: int) -> list[Range]:
        """Take so many bytes, in as many ranges as it needs."""
        taken: list[Range] = []
        while count and self._free:
            start, stop = self._free[0]
            end = min(stop, start + count)
            self._free[:1] = [(end, stop)] if end < stop else []
            taken.append((start, end))
            count -= end - start
        if count:
            taken.append((self._end, self._end + count))
            self._end += count
        return taken

    def give_back(self, start: int, stop: int) -> None:
        """Take bytes back."""
        place = bisect_right(self._free, (start, stop))
        if place < len(self._free) and self._free[place][0] == stop:
            stop = self._free.pop(place)[1]
        if place and self._free[place - 1][1] == start:
            start = self._free.pop(place - 1)[0]
        insort(self._free, (start, stop))

    def close(self) -> None:
        """Free the disk space, unless a map lies in the file."""
        if sum(stop - start for start, stop in self._free) == self._end:
            self.discard()

    def discard(self) -> None:
        """Free the disk space, whatever lies in the file: Ctrl-C may come before a map has noted its bytes."""
        self._free, self._end = [], 0
        if self._file is not None:
            self._file.close()
            self._file = None


def _nameless(folder: Path) -> BinaryIO:
    return cast(BinaryIO, tempfile.TemporaryFile(dir=folder, buffering=0))


class SpilledBytes:
    """The bytes of a map in ranges of a `SpillFile`.

    Attributes:
        size: How many bytes were appended.
    """

    def __init__(self, file: SpillFile) -> None:
        self._file = file
        self._ranges: list[Range] = []
        self._starts: list[int] = []
        self.size = 0
        self._written = 0

    def append(self, data: memoryview) -> None:
        """Write bytes behind those that were written before."""
        for start, stop in self._file.take(max(self._written + len(data) - self.size, 0)):
            if self._ranges and self._ranges[-1][1] == start:
                self._ranges[-1] = (self._ranges[-1][0], stop)
            else:
                self._ranges.append((start, stop))
                self._starts.append(self.size)
            self.size += stop - start
        self._move(write_at, data, self._written)
        self._written += len(data)

    def fill(self, data: memoryview, offset: int) -> None:
        """Read as many bytes as `data` has, from the map's byte `offset` on."""
        self._move(read_at, data, offset)

    def drop(self, stop: int) -> None:
        """Give the bytes before `stop` back to the file."""
        while self._ranges and self._starts[0] < stop:
            start, end = self._ranges[0]
            split = min(start + stop - self._starts[0], end)
            if split == end:
                del self._ranges[0], self._starts[0]
            else:
                self._ranges[0], self._starts[0] = (split, end), stop
            self._file.give_back(start, split)

    def rewind(self) -> None:
        """Write the next bytes in the place of the first ones."""
        self._written = 0

    def close(self) -> None:
        """Give all bytes back to the file."""
        self.drop(self.size)

    def _move(self, move: Callable[[BinaryIO, memoryview, int], None], data: memoryview, offset: int) -> None:
        place = bisect_right(self._starts, offset) - 1
        assert place >= 0 or not data, "rows are read after they were released"
        while data:
            start, stop = self._ranges[place]
            inside = offset - self._starts[place]
            count = min(len(data), stop - start - inside)
            move(self._file.file, data[:count], start + inside)
            data, offset, place = data[count:], offset + count, place + 1
