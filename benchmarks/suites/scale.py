"""Scale: time and memory from 256² up; and of one width, as the height grows, in one budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group

WIDE = "zvae_tiled, 256 wide in 200 MB"


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group a size; the height grows by itself too, under one budget."""
    del folder
    for pixels in (128, 256) if quick else (256, 512, 768, 1024, 2048, 4096) if large else (256, 512):
        yield Group(tuple(Case("scale", "ours", pixels, pixels, budget=budget) for budget in ("ample", "least")))
    for height in (128, 256) if quick else (256, 512, 1024, 2048, 4096) if large else (256, 512, 1024):
        yield Group((Case("scale", "ours", height, 256, budget="200MB", label=WIDE),))
