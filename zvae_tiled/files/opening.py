"""Opens a regular file once, never waits for a pipe, and explains why a file cannot be opened."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from zvae_tiled.errors import WeightsError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def open_regular(path: Path) -> tuple[io.FileIO, os.stat_result]:
    """Open a regular file for reading. The open file is the one that is checked.

    Returns:
        The open file, unbuffered, and its `stat`.

    Raises:
        WeightsError: There is no file, it may not be read, or it is not a regular file.
    """
    try:
        # It owns the handle from the start: an interrupt at any moment closes it once.
        file = io.FileIO(path, "rb", opener=without_waiting)
    except IsADirectoryError as error:
        raise _irregular(path, "a folder") from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise _irregular(path, next((kind for is_kind, kind in _KINDS if is_kind(state.st_mode)), "something else"))
    except BaseException as error:
        file.close()
        if isinstance(error, OSError):
            raise unreadable(path, error) from error
        raise
    return file, state


def without_waiting(path: str | bytes, flags: int) -> int:
    """Open a file for Python's `open`. A FIFO that is opened without O_NONBLOCK waits for a writer for ever."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _irregular(path: Path, kind: str) -> WeightsError:
    return WeightsError(f"{path} must be a regular file, it is {kind}.", "Pass a safetensors file.")


def unreadable(path: Path, error: OSError | ValueError) -> WeightsError:
    """Turn the operating system's error into one that says what to do."""
    if isinstance(error, ValueError):  # a NUL in the path
        return WeightsError(f"{str(path)!r} cannot be a path: {error}.", "Check the path.")
    reason, advice = error.strerror or str(error), "Check the disk, and that the file can be copied."
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and path.is_symlink():
        reason, advice = "it is a link to a file that is gone", "Download it again."
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        advice = (
            "Check the path. This package downloads nothing. To fetch a model's VAE first:\n"
            "  hf download OWNER/MODEL vae/ model_index.json"
        )
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = "Check the permissions of the file and of the folders above it."
    elif error.errno == errno.ENXIO:
        reason, advice = "it is a socket or a device", "Pass a safetensors file."
    return WeightsError(f"{path} cannot be read: {reason}.", advice)
