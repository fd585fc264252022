"""Files that appear whole or not at all, whatever is in them, one or several together. No MLX."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from zvae_tiled.errors import OutputError
from zvae_tiled.files.filesystem import created_beside, is_file, name_beside, rename_exclusively, sync_folder

TRIES = 100
"""How often an interrupted `take_back` is begun anew."""


class AtomicFile:
    """Written beside its final name, on disk before it gets it.

    Attributes:
        path: The final name.
        file: The open file.
    """

    def __init__(self, path: Path) -> None:
        """Open a file in the same folder, so that giving it its final name is one rename."""
        self.path = path
        self._temporary, handle = created_beside(path)
        self.file = os.fdopen(handle, "wb")
        self._written = os.fstat(handle)
        self._replaced: Path | None = None

    def finish(self) -> None:
        """Everything is written: bring it to the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def give_name(self, overwrite: bool) -> None:
        """Give the file its final name. What it replaces stays, under another name, until `forget_replaced`.

        Raises:
            FileExistsError: Another file has the name, and it is not to be overwritten.
            OSError: The name cannot be given.
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
        """Undo `give_name`, however far it came; a second call changes nothing."""
        named = is_file(self.path, self._written)
        if self._replaced is None or not os.path.lexists(self._replaced):
            if named:
                os.unlink(self.path)
        elif named or not os.path.lexists(self.path):
            self._restore(self._replaced)
        else:  # the name was not given yet
            os.unlink(self._replaced)

    def forget_replaced(self) -> None:
        """Remove the file that was replaced; a second call changes nothing."""
        if self._replaced is not None:
            with contextlib.suppress(OSError):  # every file has its name: this is no failure
                os.unlink(self._replaced)

    def discard(self) -> None:
        """Remove what was written; after `publish` there is nothing to remove."""
        with contextlib.suppress(OSError):  # a full disk refuses once more what is still buffered
            self.file.close()
        self._temporary.unlink(missing_ok=True)

    def _restore(self, replaced: Path) -> None:
        try:
            os.replace(replaced, self.path)
        except OSError as error:  # then it keeps its other name, which somebody has to know
            raise OSError(error.errno, f"{error.strerror}; the file that was there is now {replaced}") from error

    def _keep_replaced(self) -> None:
        """Give the file that is to be replaced a second name."""
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
    """Give finished files their names: all of them, or none and every file is as it was before.

    Args:
        files: Files that are finished.
        overwrite: Whether files that have the names are replaced.

    Raises:
        FileExistsError: Another file has one of the names, and it is not to be overwritten.
        OSError: A name cannot be given. ``filename`` says which.
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
    """Give an open file, which has its name when the block ends well, and is gone when it does not."""
    written = AtomicFile(path)
    try:
        yield written.file
        written.finish()
        publish([written], overwrite)
    except BaseException:  # Ctrl-C too
        written.discard()
        raise


def write_text(path: Path, text: str, overwrite: bool = True) -> None:
    """Write a small text.

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
    """Refuse, before any work is done for it, a file that cannot be written where it is to be.

    Raises:
        OutputError: It is no regular file, its folder cannot be written to, or it must not be replaced.
    """
    try:
        folder, other = path.is_dir() or not path.parent.is_dir(), path.exists() and not path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        problem = f"{path} cannot be written: {error.strerror or error}"
        raise OutputError(problem, "Name another file.") from error
    if folder:
        raise OutputError(f"{path} is a folder, or its folder does not exist", "Name a file in a folder that exists.")
    if other:  # a rename would replace the device itself
        raise OutputError(f"{path} is a device, a pipe or a socket", "Name a regular file.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent} cannot be written to", "Name a file in another folder.")
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: there is a file of that name", "Name another file, or let it be replaced.")


def _surely(undo: Callable[[], None]) -> None:
    """Call a function that may be called twice: if Ctrl-C stops it, it is called again before Ctrl-C is obeyed."""
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
