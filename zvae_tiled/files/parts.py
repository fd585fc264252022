"""Files that are being written: without a name where the system offers that, else under a name that marks them.

A file without a name is gone when its process ends, however it ends. A part with a name is locked by the process that
writes it. A part whose lock is free was left by a process that was killed, and the next process removes it.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import os
import re
import resource
import secrets
import shutil
import stat
from contextlib import suppress
from pathlib import Path

MOST_HANDLES = 10_240
"""The most open files that macOS allows, whatever its hard limit says."""

TRIES = 10
"""How often a new part is tried that another process took for one that was left behind."""


@functools.cache
def _host() -> str:
    """Return letters that mark the parts of this host. A lock on a network file system may not be seen elsewhere."""
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]


def part_name(path: Path) -> Path:
    """Return an unused hidden name in the folder of `path`."""
    return path.with_name(f".zvae-{_host()}-{secrets.token_hex(8)}.part")


def create(path: Path, mode: int | None) -> tuple[int, Path | None]:
    """Create a file in the folder of `path`, and remove parts there that were left behind.

    Args:
        path: The name that the file will get.
        mode: Its permissions. Default: those of new files.

    Returns:
        A handle to read and write, and the name of the part; None if it has no name.
    """
    sweep_once(path.parent)
    handle, part = _unnamed(path.parent, mode), None
    if handle is None:
        part = part_name(path)
        handle = create_named(part, mode)
    return handle, part


def create_named(part: Path, mode: int | None = None) -> int:
    """Create a locked part, and return a handle to read and write."""
    for _ in range(TRIES):
        handle = open_file(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        if lock_if_possible(handle) and is_file(part, os.fstat(handle)):
            set_mode(handle, mode)
            return handle
        os.close(handle)  # another process has just swept it away
    raise OSError(errno.EBUSY, "another process removes unfinished files here")


def create_folder(path: Path, mode: int = 0o777) -> tuple[int, Path]:
    """Create a locked part that is a folder, and remove parts beside it that were left behind.

    Args:
        path: The name that the folder will get, if it gets one.
        mode: Its permissions, of which the system takes the umask.

    Returns:
        A handle, which holds the lock, and the name of the part.
    """
    sweep_once(path.parent)
    for _ in range(TRIES):
        part = part_name(path)
        os.mkdir(part, mode)
        try:
            handle = os.open(part, os.O_RDONLY)
        except FileNotFoundError:  # swept away already
            continue
        if lock_if_possible(handle) and is_file(part, os.fstat(handle)):
            return handle, part
        os.close(handle)  # another process has just swept it away
    raise OSError(errno.EBUSY, "another process removes unfinished files here")


def link(handle: int, path: Path) -> None:
    """Give an open file without a name this name.

    Raises:
        FileExistsError: Another file has the name.
        OSError: The file cannot be linked.
    """
    # The folder makes Python call linkat, which follows the link in /proc. The path is absolute, so it has no effect.
    os.link(_proc(handle), path, src_dir_fd=handle, follow_symlinks=True)


def is_file(path: Path, state: os.stat_result) -> bool:
    """Return whether `path` names the file that had this state."""
    try:
        return os.path.samestat(os.lstat(path), state)
    except FileNotFoundError:
        return False


def sweep(folder: Path) -> None:
    """Remove parts of this host that no process writes any more."""
    mine = re.compile(rf"\.zvae-{_host()}-[0-9a-f]{{16}}\.part")
    with suppress(OSError):
        for name in os.listdir(folder):
            if mine.fullmatch(name):
                _remove(folder / name)


sweep_once = functools.cache(sweep)
"""Sweep a folder once in the life of a process."""


def _remove(part: Path) -> None:
    with suppress(OSError):
        folder = stat.S_ISDIR(os.lstat(part).st_mode)
        writable = not folder and os.access(part, os.W_OK)  # a network file system may lock no other
        handle = os.open(part, (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            state = os.fstat(handle)
            regular = stat.S_ISREG(state.st_mode) or folder
            # Locked: somebody writes it. Another file by now: somebody else swept.
            if regular and lock(handle) and is_file(part, state):
                shutil.rmtree(part) if folder else os.unlink(part)
        finally:
            os.close(handle)


def _unnamed(folder: Path, mode: int | None) -> int | None:
    """Open a file without a name; None where the system has none, or could not name it later."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        handle = open_file(folder, os.O_TMPFILE | os.O_RDWR, mode)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EROFS):
            raise
        return None  # the file system has none
    if not os.path.exists(_proc(handle)):  # no /proc, as in some jails
        os.close(handle)
        return None
    lock_if_possible(handle)  # it may get the name of a part for a moment
    set_mode(handle, mode)
    return handle


def open_file(path: Path, flags: int, mode: int | None) -> int:
    """Open a file, and let this process have more open files if there are too many."""
    # The kernel applies the umask. Python can read it only by changing it, which affects all threads.
    permissions = 0o666 if mode is None else mode
    try:
        return os.open(path, flags, permissions)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        _allow_more_files()  # each picture of a batch stays open until all get their names
        return os.open(path, flags, permissions)


def set_mode(handle: int, mode: int | None) -> None:
    """Give an open file permissions; None leaves those that it has."""
    if mode is not None:
        with suppress(OSError):  # some file systems keep no permissions
            os.fchmod(handle, mode)


def _allow_more_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_HANDLES if hard == resource.RLIM_INFINITY else hard
    if soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def lock_if_possible(handle: int) -> bool:
    """Lock a new file; False if another process has locked it. Where there are no locks, nothing is swept either."""
    try:
        return lock(handle)
    except OSError:
        return True


def lock(handle: int) -> bool:
    """Lock a file; False if another process has locked it.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _proc(handle: int) -> str:
    return f"/proc/self/fd/{handle}"
