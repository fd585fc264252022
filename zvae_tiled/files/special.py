"""Pipes, devices and links as outputs: a pipe or a device is written into, and of a link the file that it names."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from zvae_tiled.files.temporary import temporary_folder

MOST_LINKS = 40
"""The most links that are followed, as by Linux."""


def followed(path: Path) -> Path:
    """Return the file that a link names, or would name; any other path as it is.

    Raises:
        PermissionError: Another user may have planted the link: Linux itself would not follow it.
    """
    link = path
    for _ in range(MOST_LINKS):
        if not os.path.islink(link):
            break
        _check_owner(link)
        link = link.parent / os.readlink(link)
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _check_owner(link: Path) -> None:
    """Refuse a link of another user in a folder that all may write to, as with fs.protected_symlinks."""
    folder, shared = os.stat(link.parent), stat.S_ISVTX | stat.S_IWOTH
    if folder.st_mode & shared == shared and os.lstat(link).st_uid not in (os.geteuid(), folder.st_uid):
        raise PermissionError(errno.EACCES, f"{link} is a link of another user, in a folder that all may write to")


def is_special(path: Path) -> bool:
    """Return whether a path is a pipe, or a device of characters such as /dev/null, also by a link."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def opened_special(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a pipe or a device for writing. This waits for a reader of a pipe.

    Raises:
        FileExistsError: It is one no longer: a file was put in its place.
        OSError: It cannot be opened.
    """
    file = open(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb", buffering)  # noqa: SIM115, the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        file.close()
        raise OSError(errno.EEXIST, "it is no longer a pipe or a device", str(path))
    return file


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
        with opened_special(self.path) as target:
            shutil.copyfileobj(self.file, target)

    def take_back(self) -> None:
        """Do nothing: what was read cannot be taken back."""

    def forget_replaced(self) -> None:
        """Do nothing: nothing was replaced."""

    def close(self) -> None:
        """Close the file, which deletes it."""
        self.file.close()

    discard = close
