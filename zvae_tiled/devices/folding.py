"""Computes nearest ×2 and a 3×3 convolution as four 2×2 convolutions of the small map: 16/36 of the products."""

from __future__ import annotations

import mlx.core as mx


def fold_upsampling(weight: mx.array) -> dict[str, mx.array]:
    """Sum the taps that read the same pixel of the small map.

    Output pixel (2i + a, 2j + b) reads the small map's rows i - 1 + a and i + a, and columns j - 1 + b and j + b.

    Args:
        weight: (O, 3, 3, I) in float32, because sums of bfloat16 weights would be rounded again.

    Returns:
        Evaluated weights (O, 2, 2, I) by name, ``weight.ab`` for every a and b of 0 and 1.
    """
    rows = _halves(weight, axis=1)
    phases = {f"weight.{a}{b}": phase for a, row in enumerate(rows) for b, phase in enumerate(_halves(row, axis=2))}
    mx.eval(phases)
    return phases


def _halves(weight: mx.array, axis: int) -> list[mx.array]:
    first, middle, last = mx.split(weight, 3, axis=axis)
    return [mx.concatenate([first, middle + last], axis=axis), mx.concatenate([first + middle, last], axis=axis)]
