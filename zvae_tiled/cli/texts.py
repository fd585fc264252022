"""Small text files, which appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from zvae_tiled.errors import OutputError


def write_text(name: str, text: str) -> None:
    """Write a file; one that is there is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    path = Path(name)
    fresh: str | None = None
    try:
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException as error:
        if fresh is not None:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
        if isinstance(error, OSError):
            raise OutputError(f"{path} cannot be written: {error.strerror}", "Name a file elsewhere.") from error
        raise
