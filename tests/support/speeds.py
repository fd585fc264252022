"""Speeds for tests."""

from __future__ import annotations

from zvae_tiled.devices.speeds import Speeds


def speeds(flops: float = 1e11, moved: float = 1e10) -> Speeds:
    """Return the same speed for all products, and the same for all bytes."""
    return Speeds(convolutions=flops, maps=moved, attention=flops, moments=moved, weights=moved)
