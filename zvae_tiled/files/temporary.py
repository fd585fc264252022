"""The folder for temporary files, and the space that is free there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def temporary_folder() -> Path:
    """Return the folder for temporary files: $TMPDIR, else /var/tmp, which unlike /tmp is never kept in memory.

    A $TMPDIR that cannot be used is passed over: `tempfile` would take /tmp in its place.
    """
    named = os.environ.get("TMPDIR")
    for folder in (named, "/var/tmp"):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK):
            return Path(folder).absolute()
    return Path(tempfile.gettempdir())


def free_space(folder: Path | None = None) -> int:
    """Return the free bytes of a folder's disk; 0 if the folder cannot be used. Default: that folder."""
    try:
        return shutil.disk_usage(folder or temporary_folder()).free
    except OSError:
        return 0
