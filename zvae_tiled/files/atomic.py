"""Files that appear whole or not at all, one alone or several together. No MLX."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from zvae_tiled.errors import MissingFolderError, OutputError
from zvae_tiled.files.filesystem import is_there
from zvae_tiled.files.new_file import NewFile
from zvae_tiled.files.new_folder import NewFolder
from zvae_tiled.files.special import PouredFile, followed, is_special
from zvae_tiled.files.sync import sync_folder
from zvae_tiled.wording import operand

TRIES = 100
"""How often an interrupted `take_back` or `forget_replaced` is tried."""


File = NewFile | NewFolder | PouredFile


def new_file(path: Path) -> NewFile | PouredFile:
    """Return a new file for this path: one that is copied into a pipe or a device, else one that replaces a file."""
    return PouredFile(path) if is_special(path) else NewFile(followed(path))


def publish(files: Sequence[File], overwrite: bool) -> None:
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
        for folder in {file.path.parent for file in files if not isinstance(file, PouredFile)}:
            sync_folder(folder)
        undo.pop_all()
    with ExitStack() as rest:
        for file in files:
            rest.callback(file.close)
            rest.callback(_surely, file.forget_replaced)


@contextlib.contextmanager
def atomic_file(path: Path, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Yield an open file. It gets its name when the block ends, and is removed if the block raises."""
    written = new_file(path)
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
        OutputError: It is a folder, a disk or a socket, its folder cannot be written to, or it exists and `overwrite`
            is False.
    """
    if is_special(path):
        if not os.access(path, os.W_OK):
            raise OutputError(f"{path} cannot be written to", "Name another file.")
        return
    try:
        place = followed(path)
        is_there(place)  # first: since Python 3.14, those of Path answer no to any error
        missing, folder = not place.parent.is_dir(), place.is_dir()
        other = place.is_symlink() or (place.exists() and not place.is_file())
    except OSError as error:  # a name that is too long, a folder that may not be entered
        problem = f"{path} cannot be written: {error.strerror or error}"
        raise OutputError(problem, "Name another file.") from error
    if missing and os.path.lexists(place.parent):
        raise OutputError(f"{path} cannot be written: {place.parent} is not a folder", "Name a file in a folder.")
    if missing:
        raise missing_folder(path, place.parent)
    if folder:
        raise OutputError(f"{path} is a folder", "Name a file in it.")
    if other:  # a rename would replace the disk itself
        raise OutputError(f"{path} is a disk, a socket, or a link to itself", "Name a regular file.")
    if not os.access(place.parent, os.W_OK):
        raise OutputError(f"{place.parent} cannot be written to", "Name a file in another folder.")
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path}: there is a file of that name", "Use another name, or set overwrite=True.")


def wrong_ending(path: Path, what: str, endings: Iterable[str]) -> OutputError:
    """Return the error of a path whose ending names no format for `what`: pictures, or latents."""
    problem = f"{path}: {what} are written as {', '.join(endings)}"
    if not path.suffix:
        return OutputError(f"{problem}, and this name has no ending", "Add one of these endings.")
    return OutputError(f"{problem}, not as {path.suffix!r}", "Change the ending.")


def missing_folder(path: Path, folder: Path) -> MissingFolderError:
    """Return the error of a path whose folder does not exist."""
    problem = f"{path} cannot be written: the folder {folder} does not exist"
    return MissingFolderError(problem, f"Create it: mkdir -p {operand(folder)}", str(folder))


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
