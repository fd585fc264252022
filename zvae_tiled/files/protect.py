"""Keeps files that are read from being replaced. Files are compared by identity, not by path. No MLX."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from zvae_tiled.errors import OutputError
from zvae_tiled.files.special import followed, is_special


@dataclass(frozen=True)
class Source:
    """A file that is read.

    Attributes:
        path: Its absolute path.
        state: Its `stat` when it was read; None if there was no such file.
    """

    path: Path
    state: os.stat_result | None

    @classmethod
    def of(cls, path: Path) -> Source:
        """Note a file that is about to be read."""
        return cls(path.absolute(), _state(path))

    @property
    def changed(self) -> bool:
        """Whether the file at its path is no longer the one that was read, by inode, size and time."""
        now = _state(self.path)
        return now is None or self.state is None or _unchanged(now) != _unchanged(self.state)

    @property
    def keys(self) -> Iterator[Hashable]:
        """Keys that identify it: of the file at its path now, and of the file that was read, even if it was moved."""
        now = _state(self.path)
        if now is not None:
            yield _identity(now)
        if self.state is not None:
            yield _unchanged(self.state)


def check_outputs(outputs: Sequence[Path], sources: Sequence[Source], replaced: bool = True) -> None:
    """Refuse, before any work, outputs that would replace a source, or one another, or what cannot be replaced.

    Links, other spellings of a path, and a different case of letters where the file system ignores it are recognised.

    Args:
        outputs: All files that will be written: one for each picture of a batch.
        sources: All files that are read.
        replaced: Whether all outputs that exist will be replaced. Some may be left as they are.

    Raises:
        OutputError: An output is a source, or two outputs are the same file, or the system would not replace one.
    """
    read = {key: source for source in sources for key in source.keys}
    written: dict[Hashable, Path] = {}
    missing: list[Path] = []
    for path in outputs:
        state = _state(path)
        if state is None:
            missing.append(path)
        keys = (_name_key(path),) if state is None else (_identity(state), _unchanged(state))
        source = next((read[key] for key in keys if key in read), None)
        if source is not None:
            same = "" if source.path == path.absolute() else f" (it is the same file as {source.path})"
            raise OutputError(f"{path} is an input{same}, and would be replaced", "Name another file.")
        if keys[0] in written:
            raise _twice(written[keys[0]], path)
        written[keys[0]] = path
        held = _held(followed(path)) if replaced and not is_special(path) else None
        if held is not None:
            raise OutputError(f"{path} cannot be replaced: it is {held}", "Name another file.")
    _check_case(missing)


def _held(place: Path) -> str | None:
    """Return why the system would refuse to replace a file whose folder can be written to, in words; None if not."""
    try:
        file, folder = os.lstat(place), os.stat(place.parent)
    except OSError:
        return None  # there is none
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, file.st_uid, folder.st_uid):
        return "another user's, in a folder whose files their owners alone replace"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return None
    name = re.sub(r"[\\\s]", lambda each: f"\\{ord(each[0]):03o}", os.path.realpath(place))
    return "mounted there" if any(line.split(" ")[4:5] == [name] for line in mounts.splitlines()) else None


def _check_case(missing: Sequence[Path]) -> None:
    """Refuse names that are the same to their file system, such as a.png and A.png where it ignores case."""
    alike = sorted(missing, key=_folded)
    for _, group in groupby(alike, key=_folded):
        paths = list(group)
        if len(paths) > 1:
            _try_names(paths)


def _try_names(paths: Sequence[Path]) -> None:
    """Create files of these names in a temporary folder, to see whether the file system tells them apart."""
    try:
        with tempfile.TemporaryDirectory(dir=paths[0].parent, prefix=".zvae-") as trial:
            for path in paths:
                (Path(trial) / path.name).touch(exist_ok=False)
    except FileExistsError:
        raise _twice(*paths[:2]) from None
    except FileNotFoundError:
        return  # only a plan names files in a folder that is not there, and it writes none
    except OSError as error:
        problem = f"{paths[0].parent} cannot be written to: {error.strerror or error}"
        raise OutputError(problem, "Name files in another folder.") from error


def _twice(first: Path, second: Path) -> OutputError:
    also = "" if first == second else f" (also called {first})"
    return OutputError(f"Several files would be written to {second}{also}", "Give each a name of its own.")


def _state(path: Path) -> os.stat_result | None:
    """Return the `stat` of a regular file, else None: only regular files are ever replaced."""
    state = _stat(path)
    return state if state is not None and stat.S_ISREG(state.st_mode) else None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None


def _identity(state: os.stat_result) -> Hashable:
    return state.st_dev, state.st_ino


def _unchanged(state: os.stat_result) -> Hashable:
    """Return the identity of a file and its content. The inode alone may be used again for a new file."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _name_key(path: Path) -> Hashable:
    named = Path(os.path.realpath(path)) if os.path.islink(path) else path  # a link to a file that will be written
    return _folder_key(named), named.name


def _folded(path: Path) -> tuple[str, str]:
    name = unicodedata.normalize("NFKD", path.name).casefold()
    return str(_folder_key(path)), unicodedata.normalize("NFKD", name)


def _folder_key(path: Path) -> Hashable:
    folder = path.absolute().parent
    state = _stat(folder)
    return str(folder) if state is None else _identity(state)
