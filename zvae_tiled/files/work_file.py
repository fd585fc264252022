"""`WorkFile`: a file that is written in a work folder, stays there after a crash, and is published from there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from zvae_tiled.files.filesystem import mode_of
from zvae_tiled.files.new_file import NewFile
from zvae_tiled.files.parts import is_file, lock_if_possible, open_file, part_name, set_mode
from zvae_tiled.files.special import followed


class WorkFile(NewFile):
    """A file with a name in a work folder. `publish` gives it its final name, by a link or a copy."""

    def __init__(self, path: Path, kept: Path) -> None:
        """Open it, or create it.

        Args:
            path: The final name.
            kept: Its name in the work folder.
        """
        self.path = followed(path)
        if kept.is_file() and not kept.is_symlink() and not os.access(kept, os.W_OK):  # killed just after it was named
            kept.chmod(stat.S_IRUSR | stat.S_IWUSR)
        handle = open_file(kept, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, None)
        lock_if_possible(handle)  # its second name, beside the final one, is that of a part
        self._mode = mode_of(self.path)
        self.file = os.fdopen(handle, "r+b")
        self._open_to_owner()
        self._kept = kept
        self._part: Path | None = kept
        self._written = os.fstat(handle)
        self._replaced: Path | None = None

    def give_name(self, overwrite: bool) -> None:
        """Give the file its final name, which it has already if a process was killed just after that."""
        if is_file(self.path, self._written):
            set_mode(self.file.fileno(), self._mode)
        else:
            super().give_name(overwrite)

    def take_back(self) -> None:
        """Undo `give_name`, so that another process can go on with the file. A second call changes nothing."""
        super().take_back()
        self._open_to_owner()

    def _open_to_owner(self) -> None:
        if self._mode is not None:
            set_mode(self.file.fileno(), self._mode | stat.S_IRUSR | stat.S_IWUSR)

    def _named_part(self) -> Path:
        """Return a second name beside the final one, which the file gets here."""
        if self._part == self._kept:
            self._part = part_name(self.path)  # first: after an interrupt it is removed
            try:
                os.link(self._kept, self._part, follow_symlinks=False)
            except OSError:  # another file system, or one without links
                self._copy_to(self._part)
            set_mode(self.file.fileno(), self._mode)
        assert self._part is not None
        return self._part

    def discard(self) -> None:
        """Close the file. It stays in the work folder."""
        self.close()
        if self._part is not None and self._part != self._kept:
            self._part.unlink(missing_ok=True)
