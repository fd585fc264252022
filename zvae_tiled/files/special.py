"""Pipes and devices as outputs: they are written into, and links are followed. Nothing there is replaced."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from zvae_tiled.files.temporary import temporary_folder


def followed(path: Path) -> Path:
    """Return the file that a link names, or would name; any other path as it is."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def is_special(path: Path) -> bool:
    """Return whether a path is a pipe, or a device of characters such as /dev/null, also by a link."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


class PouredFile:
    """A file that is written elsewhere, and copied into a pipe or a device when it is whole.

    Attributes:
        path: The pipe or the device.
        file: The open file.
    """

    def __init__(self, path: Path) -> None:
        """Open a temporary file. The system deletes it when it is closed."""
        self.path = path
        self.file = tempfile.TemporaryFile(dir=temporary_folder())  # noqa: SIM115, closed by close()

    def finish(self) -> None:
        """Write everything that is buffered."""
        self.file.flush()

    def give_name(self, overwrite: bool) -> None:
        """Copy the file. This waits for a reader of a pipe."""
        del overwrite  # nothing is replaced
        self.file.seek(0)
        with open(os.open(self.path, os.O_WRONLY | os.O_NOCTTY), "wb") as target:
            shutil.copyfileobj(self.file, target)

    def take_back(self) -> None:
        """Do nothing: what was read cannot be taken back."""

    def forget_replaced(self) -> None:
        """Do nothing: nothing was replaced."""

    def close(self) -> None:
        """Close the file, which deletes it."""
        self.file.close()

    discard = close
