"""Qualities at full width: error, seams, time and memory of each, on one picture; docs/quality.md has the overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.case import Case
from benchmarks.runner import Group
from benchmarks.suites.peers import race

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"quality": "stream"},
    {"quality": "tiles", "tile": 128, "overlap": 104},
    {"quality": "tiles", "tile": 128, "overlap": 16},
    {"quality": "tiles", "tile": 128, "overlap": 64, "moments": "tile"},
)
"""Exact; a stream; tiles that are exact, that share too little, and with norms of their own."""


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield one group, the exact decode in float32 first: it is the reference."""
    del large
    pixels = 256
    chosen = OPTIONS[:2] if quick else OPTIONS
    cases = (Case("quality", "ours", pixels, pixels, "bfloat16", options=options) for options in chosen)
    yield race((Case("quality", "ours", pixels, pixels, "float32"), *cases), folder, compare=True)
