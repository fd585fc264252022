"""Checks whether a package is installed, and whether another one has written over its files, without importing it."""

from __future__ import annotations

import os
from importlib import metadata


def installed(distribution: str) -> bool:
    """Return whether a distribution of this name is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def replaced(distribution: str, name: str) -> bool:
    """Return whether a file of an installed distribution has another size than its list of files says.

    Two wheels that hold a file of one name write over each other: the one that was installed last computes.

    Args:
        distribution: Its name.
        name: The file, as the list of files has it, such as ``mlx/lib/libmlx.so``.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return False
    for file in files:
        if file.as_posix() == name and file.size is not None:
            try:
                return os.stat(os.fspath(file.locate())).st_size != file.size
            except OSError:
                return False
    return False
