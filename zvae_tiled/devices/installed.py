"""Checks whether a package is installed, without importing it."""

from __future__ import annotations

from importlib import metadata


def installed(distribution: str) -> bool:
    """Return whether a distribution of this name is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
