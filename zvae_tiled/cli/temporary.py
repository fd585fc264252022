"""A temporary folder for data from standard input, or for standard output."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from zvae_tiled.errors import OutputError
from zvae_tiled.files.parts import create_folder
from zvae_tiled.files.temporary import temporary_folder as disk_folder

PRIVATE = 0o700
"""Permissions of the folder: others may look into the one where it lies."""


@contextmanager
def temporary_folder(stream: str) -> Iterator[Path]:
    """Yield a folder that is removed at the end, on the disk of spilled maps: a /tmp in memory takes memory.

    It is a part, which its process locks. After `kill -9`, the next command that needs such a folder removes it.

    Args:
        stream: The name of the stream, for an error.

    Raises:
        OutputError: It cannot be created.
    """
    try:
        handle, folder = create_folder(disk_folder() / "stream", PRIVATE)
    except OSError as error:
        raise no_room(stream, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def no_room(stream: str, error: OSError) -> OutputError:
    """Turn the operating system's error into one that says what to do."""
    problem = f"{stream} needs a temporary file in $TMPDIR, which cannot be written: {error.strerror or error}"
    return OutputError(problem, "Set TMPDIR to a folder with free space, or name a file.")


def free_name(folder: Path, what: str, suffix: str) -> Path:
    """Return an unused name in a folder for what is kept of a stream: latents, or a picture."""
    return next(path for n in count(1) if not os.path.lexists(path := folder / f"zvae-{what}-{n}{suffix}"))
