"""A temporary folder for data from standard input, or for standard output."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from zvae_tiled.errors import OutputError
from zvae_tiled.files.temporary import temporary_folder as disk_folder


@contextmanager
def temporary_folder(stream: str) -> Iterator[Path]:
    """Yield a folder that is removed at the end, on the disk of spilled maps: a /tmp in memory takes memory.

    Args:
        stream: The name of the stream, for an error.

    Raises:
        OutputError: It cannot be created.
    """
    try:
        folder = tempfile.TemporaryDirectory(dir=disk_folder())
    except OSError as error:
        raise no_room(stream, error) from error
    with folder:
        yield Path(folder.name)


def no_room(stream: str, error: OSError) -> OutputError:
    """Turn the operating system's error into one that says what to do."""
    problem = f"{stream} needs a temporary file in $TMPDIR, which cannot be written: {error.strerror or error}"
    return OutputError(problem, "Set TMPDIR to a folder with free space, or name a file.")


def free_name(folder: Path, what: str, suffix: str) -> Path:
    """Return an unused name in a folder for what is kept of a stream: latents, or a picture."""
    return next(path for n in count(1) if not os.path.lexists(path := folder / f"zvae-{what}-{n}{suffix}"))
