"""Files that appear whole or not at all, one alone or several together. No MLX."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from zvae_tiled.errors import MissingFolderError, OutputError
from zvae_tiled.files.filesystem import created_beside, is_file, name_beside, rename_exclusively, sync_folder

TRIES = 100
"""How often an interrupted `take_back` or `forget_replaced` is tried."""


class AtomicFile:
    """A file that is written under a temporary name, and gets its final name when it is whole and on disk.

    Attributes:
        path: The final name.
        file: The open file.
    """

    def __init__(self, path: Path) -> None:
        """Open a temporary file in the same folder, so that a rename gives it its final name."""
        self.path = path
        self._temporary, handle = created_beside(path)
        self.file = os.fdopen(handle, "wb")
        self._written = os.fstat(handle)
        self._replaced: Path | None = None

    def finish(self) -> None:
        """Bring everything that was written to the disk, and close the file."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def give_name(self, overwrite: bool) -> None:
        """Give the file its final name. A file that it replaces is kept under another name until `forget_replaced`.

        Raises:
            FileExistsError: Another file has the name, and `overwrite` is False.
            OSError: The file cannot be renamed.
        """
        if overwrite:
            self._keep_replaced()
            os.replace(self._temporary, self.path)
            return
        try:
            rename_exclusively(self._temporary, self.path)
        except FileExistsError as error:
            raise FileExistsError(errno.EEXIST, "a file of that name has appeared") from error

    def take_back(self) -> None:
        """Undo `give_name`, however far it got. A second call changes nothing."""
        named = is_file(self.path, self._written)
        if self._replaced is None or not os.path.lexists(self._replaced):
            if named:
                os.unlink(self.path)
        elif named or not os.path.lexists(self.path):
            self._restore(self._replaced)
        else:  # the file was not renamed yet
            os.unlink(self._replaced)

    def forget_replaced(self) -> None:
        """Remove the file that was replaced. A second call changes nothing."""
        if self._replaced is not None:
            with contextlib.suppress(OSError):  # every file has its name, so the write succeeded
                os.unlink(self._replaced)

    def discard(self) -> None:
        """Remove the temporary file. After `publish` there is none."""
        with contextlib.suppress(OSError):  # on a full disk, flushing the buffer fails again
            self.file.close()
        self._temporary.unlink(missing_ok=True)

    def _restore(self, replaced: Path) -> None:
        try:
            os.replace(replaced, self.path)
        except OSError as error:  # the file keeps its other name, so the error says which
            raise OSError(error.errno, f"{error.strerror}; the file that was there is now {replaced}") from error

    def _keep_replaced(self) -> None:
        """Give the file that will be replaced a second name."""
        try:
            if stat.S_ISDIR(os.lstat(self.path).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except FileNotFoundError:
            return
        self._replaced = name_beside(self.path, ".old")
        try:
            os.link(self.path, self._replaced, follow_symlinks=False)
        except OSError:  # FAT and some network file systems have no hard links
            os.replace(self.path, self._replaced)


def publish(files: Sequence[AtomicFile], overwrite: bool) -> None:
    """Give finished files their final names: all of them, or none. On an error every file is as it was before.

    Args:
        files: The finished files.
        overwrite: Whether existing files of these names are replaced.

    Raises:
        FileExistsError: Another file has one of the names, and `overwrite` is False.
        OSError: A file cannot be renamed. ``filename`` says which.
    """
    with ExitStack() as undo:
        for file in files:
            undo.callback(_surely, file.take_back)
            try:
                file.give_name(overwrite)
            except OSError as error:
                error.filename, error.filename2 = str(file.path), None
                raise
        for folder in {file.path.parent for file in files}:
            sync_folder(folder)
        undo.pop_all()
    with ExitStack() as rest:
        for file in files:
            rest.callback(_surely, file.forget_replaced)


@contextlib.contextmanager
def atomic_file(path: Path, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield an open file. It gets its name when the block ends, and is removed if the block raises."""
    written = AtomicFile(path)
    try:
        yield written.file
        written.finish()
        publish([written], overwrite)
    except BaseException:  # Ctrl-C too
        written.discard()
        raise


def write_text(path: Path, text: str, overwrite: bool = True) -> None:
    """Write a small text file.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with atomic_file(path, overwrite) as file:
            file.write(text.encode())
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}", "Free space, or name a file elsewhere."
        ) from error


def check_place(path: Path, overwrite: bool = True) -> None:
    """Refuse, before any work, a path that cannot be written to.

    Raises:
        OutputError: It is not a regular file, its folder cannot be written to, or it exists and `overwrite` is False.
    """
    try:
        missing, folder = not path.parent.is_dir(), path.is_dir()
        other = path.exists() and not path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        problem = f"{path} cannot be written: {error.strerror or error}"
        raise OutputError(problem, "Name another file.") from error
    if missing and os.path.lexists(path.parent):
        raise OutputError(f"{path} cannot be written: {path.parent} is not a folder", "Name a file in a folder.")
    if missing:
        raise MissingFolderError.of(str(path), path.parent)
    if folder:
        raise OutputError(f"{path} is a folder", "Name a file in it.")
    if other:  # a rename would replace the device itself
        raise OutputError(f"{path} is a device, a pipe or a socket", "Name a regular file.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent} cannot be written to", "Name a file in another folder.")
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: there is a file of that name", "Name another file, or let it be replaced.")


def _surely(undo: Callable[[], None]) -> None:
    """Call `undo` until it ends: after Ctrl-C it is called again, and then Ctrl-C is raised. It may be called twice."""
    interrupt: BaseException | None = None
    for _ in range(TRIES):
        try:
            undo()
            break
        except Exception:
            raise
        except BaseException as stopped:
            interrupt = stopped
    if interrupt is not None:
        raise interrupt
