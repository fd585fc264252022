"""What is installed, and what MLX would compute on here, without importing it."""

from __future__ import annotations

import sys
from importlib import metadata


def likely_device() -> str:
    """Guess what MLX would compute on here, without importing it."""
    if sys.platform == "darwin":
        return "metal"
    return "cuda" if any(installed(f"mlx-cuda-{version}") for version in (12, 13)) else "cpu"


def installed(distribution: str) -> bool:
    """Tell whether a distribution of this name is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
