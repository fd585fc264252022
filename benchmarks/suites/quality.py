"""Measures each quality at full width on one picture. docs/quality.md compares overlaps on a smaller VAE."""

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
"""Exact, stream, exact tiles, tiles with too little overlap, and tiles with their own norms."""


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield one group. Its first case is the reference, the exact decode in float32."""
    del large
    pixels = 256
    settings = OPTIONS[:2] if quick else OPTIONS
    cases = (Case("quality", "ours", pixels, pixels, "bfloat16", options=options) for options in settings)
    yield race((Case("quality", "ours", pixels, pixels, "float32"), *cases), folder, compare=True)
