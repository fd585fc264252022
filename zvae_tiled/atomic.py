"""Files that appear whole or not at all, whatever is in them. No MLX: plans are written without it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from zvae_tiled.errors import OutputError


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


def check_place(path: Path) -> None:
    """Refuse, before any work is done for it, a file that cannot be written where it is to be.

    Raises:
        OutputError: It is a folder, or its folder cannot be written to.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"{path} is a folder, or its folder does not exist", "Name a file in a folder that exists.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent} cannot be written to", "Name a file in another folder.")


def write_text(path: Path, text: str) -> None:
    """Write a small text; a file that is there is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with atomic_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}", "Free space, or name a file elsewhere."
        ) from error


@contextlib.contextmanager
def atomic_file(path: Path, overwrite: bool = True) -> Iterator[BinaryIO]:
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
