"""Compares the decode with the limits of this machine: the speed of matrix products, and the least memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.runner import Group


def groups(quick: bool, large: bool, folder: Path) -> Iterator[Group]:
    """Yield products and decodes that take turns, so that both meet the same noise."""
    del large, folder
    pixels, rounds = (128, 1) if quick else (256, 2)
    for dtype in ("float32", "bfloat16"):
        yield Group(
            (
                Case("limit", "product_mlx", 0, 0, dtype, rounds=rounds, label="matrix product, MLX"),
                Case("limit", "product_torch", 0, 0, dtype, rounds=rounds, label="matrix product, torch"),
                Case("limit", "ours", pixels, pixels, dtype, rounds=rounds),
                Case("limit", "ours", pixels, pixels, dtype, budget="least", rounds=rounds),
            )
        )
