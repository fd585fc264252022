"""`NewFolder`: a folder of tiles that is filled under a hidden name, and gets its final name when it is whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

from zvae_tiled.errors import OutputError
from zvae_tiled.files.filesystem import is_there, name_beside
from zvae_tiled.files.parts import create_folder, is_file
from zvae_tiled.files.sync import sync_below

_LEVEL, _TILE = re.compile("[0-9]+"), re.compile(r"[0-9]+_[0-9]+\.(png|jpg|jpeg)")


class NewFolder:
    """A folder that gets its final name when it is whole and on disk.

    Attributes:
        path: The final name.
        part: The hidden name under which it is filled.
        holds: Returns names in it, those in a folder before that folder: to list a folder takes memory, which may have
            run out.
    """

    def __init__(self, path: Path) -> None:
        """Create it beside its final place, and remove parts there that were left behind."""
        self.path = path
        handle, self.part = create_folder(path)
        self._handle: int | None = handle
        self._written = os.fstat(handle)
        self._replaced: Path | None = None
        self.holds: Callable[[], Iterable[str]] = tuple
        self._mode: int | None = None
        with suppress(OSError):  # there is none to be replaced
            self._mode = stat.S_IMODE(os.lstat(path).st_mode) & 0o777
            os.chmod(self.part, self._mode | stat.S_IRWXU)  # it is filled before it may be read-only

    def finish(self) -> None:
        """Bring everything that was written to the disk."""
        assert self._handle is not None
        sync_below(self.part, self._handle)

    def give_name(self, overwrite: bool) -> None:
        """Give the folder its final name. One that it replaces is kept under another name until `forget_replaced`.

        Raises:
            FileExistsError: There is something of that name that may not be replaced.
            OSError: The folder cannot be renamed.
        """
        if os.path.lexists(self.path):
            if not overwrite or strange_entry(self.path) is not None:
                raise FileExistsError(errno.EEXIST, "a folder of that name has appeared")
            self._replaced = name_beside(self.path, ".old")
            os.rename(self.path, self._replaced)
        os.rename(self.part, self.path)  # fails if a folder that is not empty has appeared just now
        if self._mode is not None:
            with suppress(OSError):  # some file systems keep no permissions
                os.chmod(self.path, self._mode)

    def take_back(self) -> None:
        """Undo `give_name`, however far it got. A second call changes nothing."""
        if is_file(self.path, self._written):
            try:
                os.rename(self.path, self.part)
            except OSError:  # the disk takes no name more, but gives up what it has
                _remove_all(self.path)
        if self._replaced is not None and os.path.lexists(self._replaced) and not os.path.lexists(self.path):
            self._restore(self._replaced)

    def _restore(self, replaced: Path) -> None:
        try:
            os.rename(replaced, self.path)
        except OSError as error:  # the folder keeps its other name, so the error says which
            raise OSError(error.errno, f"{error.strerror}; the folder that was there is now {replaced}") from error

    def forget_replaced(self) -> None:
        """Remove the folder that was replaced. A second call changes nothing."""
        if self._replaced is not None:
            _remove_all(self._replaced)

    def discard(self) -> None:
        """Remove the unfinished folder. After `publish` there is none."""
        self.close()
        _remove_all(self.part)
        if os.path.lexists(self.part):
            for name in chain(self.holds(), [""]):
                _removed(self.part / name)

    def close(self) -> None:
        """Let go of the lock that keeps others from removing it."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def check_folder(path: Path, overwrite: bool) -> None:
    """Refuse, before any work, a folder of tiles that cannot be written, or whose place holds anything but tiles.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        there = is_there(path)
    except OSError as error:  # the folder of a .dzi has a longer name than the file
        raise OutputError(f"{path} cannot be written: {error.strerror or error}", "Use another name.") from error
    if not there:
        return
    if not overwrite:
        raise OutputError(f"{path}: there is a folder of that name", "Use another name, or set overwrite=True.")
    try:
        strange = strange_entry(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror or error}", "Use another name.") from error
    if strange is not None:
        raise OutputError(
            f"{path} would be replaced, and {strange} is no tile of a picture", "Use another name, or move that away."
        )


def strange_entry(path: Path) -> Path | None:
    """Return something at `path` that is no folder of tiles (`LEVEL/COLUMN_ROW.png`); None if it is one."""
    if not _is_folder(path):
        return path
    for level in path.iterdir():
        if not (_LEVEL.fullmatch(level.name) and _is_folder(level)):
            return level
        for tile in level.iterdir():
            if not (_TILE.fullmatch(tile.name) and tile.is_file() and not tile.is_symlink()):
                return tile
    return None


def _remove_all(folder: Path) -> None:
    """Remove a folder and its levels, which may be read-only, as far as that is possible."""
    with suppress(OSError):
        os.chmod(folder, stat.S_IRWXU)
        with os.scandir(folder) as entries:
            for each in entries:
                if each.is_dir(follow_symlinks=False):
                    os.chmod(each.path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _removed(path: Path) -> None:
    with suppress(OSError):
        os.unlink(path)
        return
    with suppress(OSError):
        os.rmdir(path)


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)
