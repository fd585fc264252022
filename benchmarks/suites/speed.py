"""Measures speed and memory: full decodes and encodes of the reference model, and bands in two budgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group per size and type."""
    del folder
    sizes = (128,) if quick else (256, 512, 1024) if large else (256, 512)
    for pixels in sizes:
        rounds = 1 if quick or pixels > 256 else 2
        for dtype in ("bfloat16",) if pixels > 256 else ("bfloat16", "float32"):
            yield Group(
                (
                    Case("speed", "full", pixels, pixels, dtype, rounds=rounds, label="full decode, MLX"),
                    Case("speed", "ours", pixels, pixels, dtype, rounds=rounds),
                    Case("speed", "ours", pixels, pixels, dtype, budget="least", rounds=rounds),
                )
            )
        if pixels > 256 and not large:
            continue
        yield Group(
            (
                Case("speed", "full_encode", pixels, pixels, rounds=rounds, label="full encode, MLX"),
                Case("speed", "ours_encode", pixels, pixels, rounds=rounds, label="zvae_tiled, encode"),
            )
        )
