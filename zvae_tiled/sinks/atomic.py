"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class AtomicFile:
    """Written beside its final name, on disk before it gets it.

    Attributes:
        path: The final name.
        file: The open file.
    """

    def __init__(self, path: Path) -> None:
        """Open a file without that name in the same folder, so that giving the name is one rename."""
        self.path = path
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".zvae-", suffix=".part")
        self._temporary = Path(name)
        self.file = os.fdopen(handle, "wb")
        os.chmod(name, 0o666 & ~_umask())

    def finish(self) -> None:
        """Everything is written: bring it to the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def publish(self, overwrite: bool) -> None:
        """Give the file its name.

        Raises:
            FileExistsError: Another file has it, and it is not to be overwritten.
        """
        if not overwrite and os.path.lexists(self.path):
            raise FileExistsError(None, "a file of that name has appeared")
        self._temporary.replace(self.path)
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what was written; after `publish` there is nothing to remove."""
        with contextlib.suppress(OSError):  # a full disk refuses once more what is still buffered
            self.file.close()
        self._temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_file(path: Path, overwrite: bool) -> Iterator[BinaryIO]:
    """Give an open file, which has its name when the block ends well, and is gone when it does not."""
    written = AtomicFile(path)
    try:
        yield written.file
        written.finish()
        written.publish(overwrite)
    except BaseException:  # Ctrl-C too
        written.discard()
        raise


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
