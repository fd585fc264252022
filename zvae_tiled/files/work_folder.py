"""`WorkFolder`: what a decode keeps to go on after a crash: maps, parts of pictures, and a journal. No MLX."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zvae_tiled.errors import InputError, OutputError
from zvae_tiled.files.journal import ForeignError, Journal, LockedError, is_own, opened, read_records
from zvae_tiled.files.parts import is_file, lock_if_possible
from zvae_tiled.files.special import followed
from zvae_tiled.files.sync import sync_folder
from zvae_tiled.wording import operand

JOURNAL = "journal"
GO_ON = "Free space, and run the same decode again: it goes on from the last note."
"""The advice for a disk that is full, or fails."""

_OWN = re.compile(r"(map|part)-[0-9a-z-]+")
_SYSTEM = re.compile(r"\.DS_Store|\._.*|\.directory|\.nfs.*")
"""Names that file managers and NFS add to any folder."""


class WorkFolder:
    """A work folder that this process holds.

    Attributes:
        path: The folder.
        journal: Its journal.
    """

    def __init__(self, path: Path) -> None:
        """Open it, or create it.

        Raises:
            OutputError: It is in use, holds other files, or cannot be written to.
        """
        path = path.resolve() if path.is_symlink() else path  # a link itself is no folder that can be removed
        self.path = path
        try:
            path.mkdir(exist_ok=True)
            sync_folder(path.parent)
            names = _names(path)
            # The journal is created first and removed last: without it, files of these names are somebody else's.
            others = sorted(names - _own(names) if JOURNAL in names else names)
            if others:
                raise OutputError(
                    f"{path} holds {others[0]}, so it is no work folder", "Name an empty folder, or a new one."
                )
            self.journal = Journal(path / JOURNAL)
            if self.journal.foreign and names == {JOURNAL}:
                self.journal.close()
                raise ForeignError
        except ForeignError:
            raise OutputError(
                f"{path / JOURNAL} is a file of another program, so {path} is no work folder",
                "Name an empty folder, or a new one.",
            ) from None
        except LockedError:
            raise OutputError(
                f"{path} is the work folder of another process", "Wait for it to end, or name another folder."
            ) from None
        except OSError as error:
            raise OutputError(
                f"the work folder {path} cannot be used: {error.strerror or error}",
                "Name a folder that can be written to, on a file system with locks.",
            ) from error

    def begin(self, first: dict[str, Any]) -> None:
        """Write the first record, which says what the decode is begun with, and remove what is left of another."""
        with self._told():
            self.journal.empty()
            self._clear()
            self.journal.append(first)
        self.journal.first = first

    def note(self, record: dict[str, Any]) -> None:
        """Add a record.

        Raises:
            OutputError: It cannot be written.
        """
        with self._told():
            self.journal.append(record)

    def sync(self) -> None:
        """Bring the names of its files to the disk.

        Raises:
            OutputError: That fails.
        """
        with self._told():
            sync_folder(self.path)

    @property
    def begun(self) -> bool:
        """Whether a decode was begun here.

        Raises:
            OutputError: One was, and the journal is damaged from its first record on.
        """
        if self.journal.first is not None:
            return True
        if self.journal.damaged or (self.journal.torn and len(_names(self.path)) > 1):
            raise OutputError(
                f"the journal of {self.path} is damaged from its first record on, so nothing vouches for its maps",
                from_the_beginning(self.path),
            )
        return False

    @property
    def size(self) -> int:
        """Bytes of its files on disk."""
        with self._told():
            return size_of(self.path)

    def keep_maps(self, names: set[str]) -> None:
        """Remove all other maps.

        Raises:
            OutputError: One cannot be removed.
        """
        with self._told():
            self._remove_maps(names)

    def remove(self) -> None:
        """Remove its files, and the folder.

        Maps go first, which takes seconds: meanwhile the records say that the pictures are complete. Then the records:
        without them, the rest counts for nothing. The journal goes last: until then no other process begins here, whose
        files would be removed. What cannot be removed stays.

        Raises:
            OutputError: Something cannot be removed.
        """
        try:
            self._remove_maps(set())
            self.journal.empty()
            self._clear()
            self._remove(filter(_SYSTEM.fullmatch, os.listdir(self.path)))
            os.unlink(self.path / JOURNAL)
            self.close()  # NFS keeps a name in the folder for a file that is open
            os.rmdir(self.path)
        except OSError as error:
            raise OutputError(
                f"the work folder {self.path} cannot be removed: {error.strerror or error}",
                f"Remove it: {remove_command(self.path)}",
            ) from error
        finally:
            self.close()

    def _clear(self) -> None:
        """Remove maps and parts of pictures."""
        self._remove(_own(_names(self.path)) - {JOURNAL})

    def _remove_maps(self, kept: set[str]) -> None:
        self._remove(name for name in _names(self.path) - kept if name.startswith("map-"))

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):  # NFS removes its own
                os.unlink(self.path / name)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn errors of the operating system into ours."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"the work folder {self.path} cannot be written to: {error.strerror or error}",
                GO_ON,
            ) from error

    def close(self) -> None:
        """Let other processes use it."""
        self.journal.close()


def remove_command(path: Path) -> str:
    """Return the command that removes a work folder."""
    return f"zvae work --remove {operand(path)}"


def from_the_beginning(path: Path) -> str:
    """Return the advice for a work folder that cannot be gone on with."""
    return f"Remove the work folder, and decode from the beginning: {remove_command(path)}"


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Refuse what records of a work folder say, if the block that reads it fails: their checksums vouch for no sense.

    Raises:
        OutputError: The block failed.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        why = error.problem if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise OutputError(f"the journal of {path} is damaged: {why:.200}", from_the_beginning(path)) from error


def is_work_folder(path: Path) -> bool:
    """Return whether a folder is a work folder: a journal, maps and parts, and nothing else."""
    try:
        names, journal = _names(path), path / JOURNAL
        own = _own(names) == names and not path.is_symlink() and journal.is_file()
        return own and (len(names) > 1 or is_own(journal))  # a damaged journal still has its maps beside it
    except OSError:
        return False


def is_finished_part(file: Path, path: Path) -> bool:
    """Return whether a file is a picture of a work folder whose process was killed just after it had published it."""
    if not goes_on(path):  # also of one that was killed later, as it removed the folder: nothing goes on there
        return False
    with suppress(OSError):
        parts = [os.lstat(path / name) for name in _names(path) if name.startswith("part-")]
        return any(is_file(followed(file), part) for part in parts)
    return False


def in_use(path: Path) -> bool:
    """Return whether a process holds a work folder. Without locks, none does.

    Raises:
        FileNotFoundError: It has no journal any more.
    """
    with opened(path / JOURNAL) as file:
        return not lock_if_possible(file.fileno())


def goes_on(path: Path) -> bool:
    """Return whether a decode was begun in a folder, and has not removed its records yet."""
    with suppress(OSError):
        return next(read_records(path / JOURNAL), None) is not None
    return False


def ends_of(path: Path) -> list[dict[str, Any]]:
    """Return the first record of a work folder's journal and the last, also while another process holds it."""
    found: list[dict[str, Any]] = []
    with suppress(OSError):
        for record in read_records(path / JOURNAL):
            found[1:] = [record] if found else []
            found = found or [record]
    return found


def size_of(path: Path) -> int:
    """Return the bytes on disk of the files of a work folder."""
    total = 0
    for name in _own(_names(path)):
        with suppress(OSError):
            total += os.lstat(path / name).st_blocks * 512
    return total


def _names(path: Path) -> set[str]:
    """Return the names in a folder, without those that the system adds."""
    return {name for name in os.listdir(path) if not _SYSTEM.fullmatch(name)}


def _own(names: set[str]) -> set[str]:
    return {name for name in names if name == JOURNAL or _OWN.fullmatch(name)}
