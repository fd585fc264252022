"""Brings files, folders and names to the disk itself, so that they outlast a power cut. No MLX."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
"""Errors for a folder that cannot be synced: its file system does not offer it, or the folder may not be read."""

FAILED = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk. By any other, a file system refuses to empty its drive's cache, and `fsync` is all that it has."""


def synced(handle: int) -> None:
    """Bring an open file, or the names in an open folder, to the disk.

    Raises:
        OSError: It fails, so nothing vouches for what was written.
    """
    os.fsync(handle)
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:  # macOS: fsync leaves the bytes in the drive's cache
        try:
            fcntl.fcntl(handle, full)
        except OSError as error:
            if error.errno in FAILED:
                raise


def sync_folder(folder: Path, sync: Callable[[int], object] = synced) -> None:
    """Bring the names in a folder to the disk, if the file system can do that. `sync` does it with an open folder."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            sync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise


def sync_below(folder: Path, handle: int) -> None:
    """Bring thousands of small files and their folders to the disk, with as few waits as the system allows.

    Args:
        folder: The folder that holds them.
        handle: The folder, opened before the first file was written: Linux reports errors from then on.

    Raises:
        OSError: It fails, so nothing vouches for what was written.
    """
    if _file_system_synced(handle):
        return
    for path, folders, files in os.walk(folder, onerror=_raised):
        for name in files:
            each = os.open(os.path.join(path, name), os.O_RDONLY)
            try:
                os.fsync(each)
            finally:
                os.close(each)
        for name in folders:
            sync_folder(Path(path, name), os.fsync)
    sync_folder(folder)  # last: it empties the drive's cache for all of them


def _file_system_synced(handle: int) -> bool:
    """Bring all files of a file system to the disk by Linux' own call; False where there is none, or it fails.

    It fails for any file of the file system, also of another program. `os.sync` waits for every disk of the machine,
    and reports no errors.
    """
    library = ctypes.CDLL(None, use_errno=True)
    return sys.platform == "linux" and hasattr(library, "syncfs") and library.syncfs(handle) == 0


def _raised(error: OSError) -> None:
    raise error
