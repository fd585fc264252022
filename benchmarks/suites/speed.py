"""Speed and memory: the reference model's full decode, and bands in an ample and in the smallest budget, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield a group a size and type."""
    del folder
    sizes = (128,) if quick else (256, 512, 1024) if large else (256, 512)
    for pixels in sizes:
        for dtype in ("bfloat16",) if pixels > 256 else ("bfloat16", "float32"):
            rounds = 1 if quick or pixels > 512 else 3
            yield Group(
                (
                    Case("speed", "full", pixels, pixels, dtype, rounds=rounds, label="full decode, MLX"),
                    Case("speed", "ours", pixels, pixels, dtype, rounds=rounds),
                    Case("speed", "ours", pixels, pixels, dtype, budget="least", rounds=rounds),
                )
            )
