"""`NewFile`: a file that is written out of sight, and gets its final name when it is whole and on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from zvae_tiled.files.filesystem import mode_of, name_beside, rename_exclusively
from zvae_tiled.files.parts import create, create_named, is_file, link, part_name
from zvae_tiled.files.sync import synced


class NewFile:
    """A file that is written without a name, or as a part, and gets its final name when it is whole and on disk.

    Attributes:
        path: The final name.
        file: The open file. It stays open, for it may have no name, until it has its final one.
    """

    def __init__(self, path: Path) -> None:
        """Open a file in the same folder, with the permissions of the file that it replaces if there is one."""
        self.path = path
        handle, self._part = create(path, mode_of(path))
        self.file: BinaryIO = os.fdopen(handle, "wb")
        self._written = os.fstat(handle)
        self._replaced: Path | None = None

    def finish(self) -> None:
        """Bring everything that was written to the disk."""
        self.file.flush()
        synced(self.file.fileno())

    def give_name(self, overwrite: bool) -> None:
        """Give the file its final name. A file that it replaces is kept under another name until `forget_replaced`.

        Raises:
            FileExistsError: Another file has the name, and `overwrite` is False.
            OSError: The file cannot be renamed.
        """
        try:
            self._name(overwrite)
        except FileExistsError as error:
            raise FileExistsError(errno.EEXIST, "a file of that name has appeared") from error

    def _name(self, overwrite: bool) -> None:
        if overwrite:
            part = self._named_part()
            self._keep_replaced()
            os.replace(part, self.path)
            return
        if self._part is None:
            try:
                link(self.file.fileno(), self.path)
            except FileExistsError:
                raise
            except OSError:  # a security module may forbid it
                pass
            else:
                return
        rename_exclusively(self._named_part(), self.path)

    def _named_part(self) -> Path:
        """Return the name of the part, which it gets here if it has none."""
        if self._part is not None:
            return self._part
        self._part = part_name(self.path)  # first: after an interrupt it is removed
        try:
            link(self.file.fileno(), self._part)
        except OSError:
            self._copy_to(self._part)
        return self._part

    def _copy_to(self, part: Path) -> None:
        """Copy a file that cannot be named, and go on with the copy."""
        with contextlib.ExitStack() as closing:
            mode = stat.S_IMODE(os.fstat(self.file.fileno()).st_mode)
            copy = closing.enter_context(os.fdopen(create_named(part, mode), "wb"))
            with os.fdopen(os.dup(self.file.fileno()), "rb") as source:
                source.seek(0)
                shutil.copyfileobj(source, copy)
            copy.flush()
            synced(copy.fileno())
            self.file.close()
            self.file, self._written = copy, os.fstat(copy.fileno())
            closing.pop_all()

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
        """Remove the unfinished file. After `publish` there is none."""
        self.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # on a full disk, flushing the buffer fails again
            self.file.close()

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
