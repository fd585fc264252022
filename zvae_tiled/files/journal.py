"""`Journal`: a file of small JSON records that survives a crash. One process holds it at a time. No MLX.

It begins with `MAGIC`. A record is its length, the CRC32 of all records up to it, and its JSON. So a record that was
torn, changed, moved or taken out is noticed, and all before it still hold.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from zvae_tiled.files.opening import without_waiting
from zvae_tiled.files.parts import is_file, lock
from zvae_tiled.files.sync import sync_folder, synced

MAGIC = b"zvae journal 1\n"

MOST = 8 << 20
"""The most bytes of a record. The sums of SANA's widest linear attention take 0.7 MB."""

_HEAD = struct.Struct("<II")


class LockedError(Exception):
    """Another process holds the journal."""


class ForeignError(Exception):
    """It is no regular file, so it is another program's."""


class Journal:
    """An open journal, locked by this process.

    Attributes:
        path: Its place.
        first: The first record; None if there is none.
        torn: Whether bytes follow the records that no checksum vouched for. Behind a record they are cut off.
        damaged: Whether there is no record, and these bytes are no beginning of a first one.
        foreign: Whether another program wrote it.
    """

    def __init__(self, path: Path) -> None:
        """Open it, or create an empty one.

        Raises:
            LockedError: Another process holds it.
            ForeignError: It is no regular file.
            OSError: It cannot be read or written.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise ForeignError
        self._file = os.fdopen(handle, "r+b", buffering=0)
        try:
            if not (lock(handle) and is_file(path, os.fstat(handle))):
                raise LockedError
            self.path, self.first = path, None
            crc = end = 0
            for record, crc, end in _records(self._file):  # noqa: B007  # of the last one
                self.first = self.first or record
            self._crc = crc
            size = os.fstat(handle).st_size
            self.torn = size > end
            self.damaged = self.first is None and not _may_begin(self._file, size)
            self.foreign = not is_own(path)
            if self.first is not None:  # what is damaged may be the file of another program: only `empty` cuts it off
                self._file.truncate(end)
            self._file.seek(end)
            synced(handle)  # the system may still hold the last record of a process that was killed
            sync_folder(path.parent)
        except BaseException:
            self._file.close()
            raise

    def notes(self) -> Iterator[dict[str, Any]]:
        """Yield the records behind the first. There are hundreds of megabytes of them after some days."""
        yield from islice(read_records(self.path), 1, None)

    def append(self, record: dict[str, Any]) -> None:
        """Add a record, and bring it to the disk."""
        data = json.dumps(record, separators=(",", ":")).encode()
        assert len(data) <= MOST
        self._crc = zlib.crc32(data, self._crc)
        left = MAGIC[self._file.tell() :] + _HEAD.pack(len(data), self._crc) + data
        while left:  # a disk that is nearly full takes a part
            left = left[self._file.write(left) :]
        synced(self._file.fileno())

    def empty(self) -> None:
        """Remove all records, on the disk too. It stays locked."""
        self._file.seek(0)
        self._file.truncate()
        synced(self._file.fileno())
        self._crc = 0

    def close(self) -> None:
        """Close it, and let others open it."""
        self._file.close()


def opened(path: Path) -> BinaryIO:
    """Open a journal that another process may hold, for reading. This does not wait at a pipe of its name.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    file = open(path, "rb", opener=without_waiting)  # noqa: SIM115, the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a journal that another process may hold.

    Raises:
        OSError: It cannot be read.
    """
    with opened(path) as file:
        for record, _, _ in _records(file):
            yield record


def is_own(path: Path) -> bool:
    """Return whether a file begins as a journal, or is one that was cut off before its first record.

    Raises:
        OSError: It cannot be read.
    """
    with opened(path) as file:
        return MAGIC.startswith(file.read(len(MAGIC)))


def _may_begin(file: Any, size: int) -> bool:
    """Return whether a file of `size` bytes may be a first record that was cut off, or none at all."""
    file.seek(0)
    start = file.read(len(MAGIC) + _HEAD.size)
    if not MAGIC.startswith(start[: len(MAGIC)]):
        return False
    if len(start) < len(MAGIC) + _HEAD.size:
        return True
    count, _ = _HEAD.unpack(start[len(MAGIC) :])
    return bool(count <= MOST and size < len(start) + count)


def _records(file: Any) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Yield each record that its checksum vouches for, that checksum, and where the record ends."""
    if file.read(len(MAGIC)) != MAGIC:
        return
    crc, end = 0, len(MAGIC)
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        size, stated = _HEAD.unpack(head)
        data = file.read(size) if size <= MOST else b""
        crc = zlib.crc32(data, crc)
        if len(data) != size or crc != stated:
            return
        try:
            record = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict):
            return
        end += _HEAD.size + size
        yield record, crc, end
