"""File system calls for atomic files, with substitutes where a file system lacks them. No MLX."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import sys
from pathlib import Path

AT_FDCWD = -100
RENAME_NOREPLACE = 1
RENAME_EXCL = 4


def name_beside(path: Path, ending: str) -> Path:
    """Return an unused hidden name in the folder of `path`."""
    return path.with_name(f".zvae-{secrets.token_hex(8)}{ending}")


def is_there(path: Path) -> bool:
    """Return whether something has this name. It may be a link to nothing.

    Raises:
        OSError: Nothing can have this name, or nobody may know: it is too long, or in a folder that may not be entered.
            `os.path.lexists` answers no for these.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def mode_of(path: Path) -> int | None:
    """Return the permissions of the file at `path`; None if there is none."""
    try:
        state = os.lstat(path)
    except OSError:
        return None
    return stat.S_IMODE(state.st_mode) & 0o777 if stat.S_ISREG(state.st_mode) else None


def rename_exclusively(source: Path, target: Path) -> None:
    """Rename a file if no other file has the new name. Of several callers at the same time, one succeeds.

    Raises:
        FileExistsError: A file, a folder or a link has the name.
        OSError: The file cannot be renamed.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network file systems have no hard links
        _without_links(source, target)
    else:
        os.unlink(source)


def _without_links(source: Path, target: Path) -> None:
    try:
        _system_rename(source, target)
    except FileExistsError:
        raise
    except OSError:  # the file system or the operating system lacks this call too
        _claim_and_replace(source, target)


def _system_rename(source: Path, target: Path) -> None:
    """Call the operating system's own exclusive rename, which Python does not offer."""
    library, names = ctypes.CDLL(None, use_errno=True), (os.fsencode(source), os.fsencode(target))
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, RENAME_EXCL)
    elif sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_NOREPLACE)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(source), None, str(target))


def _claim_and_replace(source: Path, target: Path) -> None:
    """Create an empty file of the name, which only one caller can do, and replace it. It is visible for a moment."""
    handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        os.close(handle)
        os.replace(source, target)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            os.unlink(target)
        raise
