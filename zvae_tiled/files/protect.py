"""What is read is never replaced: files are compared by what they are, not by how they are spelled. No MLX."""

from __future__ import annotations

import os
import stat
import tempfile
import unicodedata
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from zvae_tiled.errors import OutputError


@dataclass(frozen=True)
class Source:
    """A file that is read.

    Attributes:
        path: Its absolute path.
        state: What the system said of it when it was read; None if there was no such file.
    """

    path: Path
    state: os.stat_result | None

    @classmethod
    def of(cls, path: Path) -> Source:
        """Note a file that is about to be read."""
        return cls(path.absolute(), _state(path))

    @property
    def changed(self) -> bool:
        """Whether the file at its path is no longer the one that was read, as the system tells them apart."""
        now = _state(self.path)
        return now is None or self.state is None or _unchanged(now) != _unchanged(self.state)

    @property
    def keys(self) -> Iterator[Hashable]:
        """What tells it from other files: what is at its path now, and what was read, wherever that was moved to."""
        now = _state(self.path)
        if now is not None:
            yield _identity(now)
        if self.state is not None:
            yield _unchanged(self.state)


def check_outputs(outputs: Sequence[Path], sources: Sequence[Source]) -> None:
    """Refuse, before any work, to replace what is read, and to write two files to one place.

    Links, other spellings of a path, and other cases of letters where the file system ignores case are all seen.

    Args:
        outputs: All files that will be written, those of each picture of a batch.
        sources: All files that are read.

    Raises:
        OutputError: An output is a source, or two outputs are the same file.
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
    _check_case(missing)


def _check_case(missing: Sequence[Path]) -> None:
    """Refuse names that differ, but not to their file system: a.png and A.png where it ignores case."""
    alike = sorted(missing, key=_folded)
    for _, group in groupby(alike, key=_folded):
        paths = list(group)
        if len(paths) > 1:
            _try_names(paths)


def _try_names(paths: Sequence[Path]) -> None:
    """Ask the file system, in a folder that is gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(dir=paths[0].parent, prefix=".zvae-") as trial:
            for path in paths:
                (Path(trial) / path.name).touch(exist_ok=False)
    except FileExistsError:
        raise _twice(*paths[:2]) from None
    except OSError as error:
        problem = f"{paths[0].parent} cannot be written to: {error.strerror or error}"
        raise OutputError(problem, "Name files in another folder.") from error


def _twice(first: Path, second: Path) -> OutputError:
    also = "" if first == second else f" (also called {first})"
    return OutputError(f"Several files would be written to {second}{also}", "Give each a name of its own.")


def _state(path: Path) -> os.stat_result | None:
    """Return what the system says of a regular file; nothing else is ever replaced."""
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
    """Identity of a file that still has its content: the number alone is given to a new file when it is gone."""
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _name_key(path: Path) -> Hashable:
    return _folder_key(path), path.name


def _folded(path: Path) -> tuple[str, str]:
    name = unicodedata.normalize("NFKD", path.name).casefold()
    return str(_folder_key(path)), unicodedata.normalize("NFKD", name)


def _folder_key(path: Path) -> Hashable:
    folder = path.absolute().parent
    state = _stat(folder)
    return str(folder) if state is None else _identity(state)
