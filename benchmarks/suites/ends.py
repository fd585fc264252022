"""Checks which tools can decode a large picture in the free memory of a small machine. Speed does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group
from benchmarks.suites.peers import race

LIMIT = 4_800_000_000
"""60 % of 8 GB. The rest is for the system and a browser."""


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield the choices of users of small machines: full decodes, diffusers' tiles, and our bands."""
    if not (quick or large):
        return
    pixels = 128 if quick else 2048
    case = partial(Case, "ends", height=pixels, width=pixels)
    cases = (
        case("diffusers_full", dtype="float32", label="diffusers, full"),
        case("diffusers_full", label="diffusers, full"),
        case("diffusers_tiled", label="diffusers, tiles", options={"quality": "tiles"}),
        case("ours", budget="1.5GB"),
    )
    yield race(cases, folder, compare=False)
