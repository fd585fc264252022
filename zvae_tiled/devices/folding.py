"""Nearest ×2 and its 3×3 convolution as four 2×2 convolutions of the small map: 16/36 of the products."""

from __future__ import annotations

import mlx.core as mx


def fold_upsampling(weight: mx.array) -> dict[str, mx.array]:
    """Sum the taps that read the same pixel of the small map.

    Output pixel (2i + a, 2j + b) reads the small map's rows i - 1 + a and i + a, and columns likewise.

    Args:
        weight: (O, 3, 3, I) in float32; sums of bfloat16 weights would be rounded again.

    Returns:
        For every a and b of 0 and 1, by the name ``weight.ab``: (O, 2, 2, I), evaluated.
    """
    rows = _halves(weight, axis=1)
    phases = {f"weight.{a}{b}": phase for a, row in enumerate(rows) for b, phase in enumerate(_halves(row, axis=2))}
    mx.eval(phases)
    return phases


def _halves(weight: mx.array, axis: int) -> list[mx.array]:
    first, middle, last = mx.split(weight, 3, axis=axis)
    return [mx.concatenate([first, middle + last], axis=axis), mx.concatenate([first + middle, last], axis=axis)]
