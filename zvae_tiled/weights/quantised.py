"""Weights that MLX quantised: integers packed in uint32, with one scale and one bias per group."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from zvae_tiled.weights.layout import Shape

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (32, 64, 128)
"""The bits and group sizes that `mx.quantize` supports in its affine mode."""


@dataclass(frozen=True)
class Packing:
    """How the values are packed into the integers.

    Attributes:
        bits: Bits per value.
        group_size: Values that share one scale and one bias.
    """

    bits: int
    group_size: int


def infer_packing(packed: Shape, scales: Shape, biases: Shape, width: int) -> Packing:
    """Return bits and group size, inferred from the shapes.

    Four bits in groups of 64 and eight bits in groups of 32 have the same two shapes. Only the width of the unpacked
    tensor tells them apart.

    Args:
        packed: Shape of the integers.
        scales: Shape of the scales.
        biases: Shape of the biases.
        width: Length of the last axis, unpacked.

    Raises:
        ValueError: No bits and group size fit these shapes. The message says why.
    """
    if scales != biases:
        raise ValueError(f"scales {scales} and biases {biases} differ in shape")
    if len(packed) < 2 or len(scales) != len(packed) or scales[:-1] != packed[:-1]:
        raise ValueError(f"scales {scales} do not belong to packed integers {packed}")
    if not width or (packed[-1] * 32) % width or packed[-1] * 32 // width not in BITS:
        raise ValueError(f"rows of {packed[-1]} integers do not unpack to {width} values of {_or(BITS)} bits")
    if not scales[-1] or width % scales[-1] or width // scales[-1] not in GROUP_SIZES:
        raise ValueError(f"{scales[-1]} scales do not split {width} values into groups of {_or(GROUP_SIZES)}")
    return Packing(packed[-1] * 32 // width, width // scales[-1])


def _or(numbers: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"


def dequantise(packed: mx.array, scales: mx.array, biases: mx.array, packing: Packing) -> mx.array:
    """Unpack to float32, the widest type, so that values are rounded only once, to the target type."""
    wide = mx.dequantize(packed, scales, biases, group_size=packing.group_size, bits=packing.bits)
    mx.eval(wide)
    return wide
