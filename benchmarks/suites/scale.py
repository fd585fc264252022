"""Measures time and memory from 256² to the largest picture of an hour, and for one width as the height grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group

TILES = {"quality": "tiles", "tile": 256, "overlap": 64, "moments": "tile"}
"""Tiles as in other tools."""

FIXED = "1.5GB"
"""From 2048² on, too little to keep everything."""

LARGEST = 5120
"""Two cores without AMX decode this in an hour, but not 1024 more: attention grows with the square of the pixels."""

WIDE = "zvae_tiled, 256 wide in 200 MB"


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group per size, then a group per height at one width and one budget."""
    del folder
    for pixels in (128, 256) if quick else (256, 512, 1024, 2048) if large else (256, 512, 1024):
        budgets = ("ample", FIXED, "least") if pixels > 1024 else ("ample", "least")
        bands = tuple(Case("scale", "ours", pixels, pixels, budget=budget) for budget in budgets)
        yield Group((*bands, Case("scale", "ours", pixels, pixels, budget="least", options=TILES)))
    if large:
        yield Group((Case("scale", "ours", LARGEST, LARGEST, budget=FIXED),))
    for height in (128, 256) if quick else (256, 512, 1024, 2048, 4096) if large else (256, 512, 1024, 2048):
        yield Group((Case("scale", "ours", height, 256, budget="200MB", label=WIDE),))
