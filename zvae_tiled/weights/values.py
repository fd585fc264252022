"""Converts values from a checkpoint's type to the VAE's type, piece by piece, and refuses NaN and Inf.

This happens in NumPy on the host. A piece is converted right after it was read, so that no whole tensor ever exists in
two types. On the host, no fast-math of a GPU compiler can remove a test for NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

PIECE = 1 << 17
"""Values per piece. A piece and its copies are under 4.2 MB and stay in the CPU's cache."""

SOURCES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # the bits, because NumPy has no bfloat16
}


@dataclass(frozen=True)
class Target:
    """A type that weights can be loaded as.

    Attributes:
        name: Its name.
        dtype: The MLX type.
        storage: The NumPy type that holds its bits.
        limit: The smallest magnitude that rounds to infinity: half a step above the largest finite value.
    """

    name: str
    dtype: mx.Dtype
    storage: np.dtype[Any]
    limit: float


FLOAT32 = Target("float32", mx.float32, np.dtype("<f4"), (2 - 2**-24) * 2.0**127)
BFLOAT16 = Target("bfloat16", mx.bfloat16, np.dtype("<u2"), (2 - 2**-8) * 2.0**127)
FLOAT16 = Target("float16", mx.float16, np.dtype("<f2"), 65520.0)
TARGETS = (FLOAT32, BFLOAT16, FLOAT16)


class Tally:
    """Converts the values of one tensor, and counts those that cannot be converted."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._not_finite = 0
        self._too_large = 0.0

    def convert(self, piece: Array, source: str, out: Array) -> None:
        """Convert a piece into ``out``, and count values that cannot be converted.

        Args:
            piece: Values as they are stored.
            source: The safetensors name of their type.
            out: Array of the same length, of the target's storage type.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # checked below, so no warnings
            values = _to_float(piece, source)
            finite = np.isfinite(values)
            if not finite.all():
                self._not_finite += int(np.count_nonzero(~finite))
                values = np.where(finite, values, 0)
            single = values.astype(np.float32, copy=False)
            if _magnitude(single) >= self._target.limit:
                self._too_large = max(self._too_large, _magnitude(values))
            out[...] = _bfloat16_bits(single) if self._target is BFLOAT16 else single

    def problem(self) -> str | None:
        """Return what is wrong with the values converted so far; None if nothing is."""
        if self._not_finite:
            return f"{self._not_finite:,} values are NaN or Inf"
        if self._too_large:
            return f"values up to {self._too_large:.6g} become Inf in {self._target.name}"
        return None


def _to_float(piece: Array, source: str) -> Array:
    if source == "BF16":
        return (piece.astype(np.uint32) << 16).view(np.float32)
    return piece.astype(np.float32) if source == "F16" else piece


def _magnitude(values: Array) -> float:
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def _bfloat16_bits(values: Array) -> Array:
    # Round to nearest, ties to even: add half a step (minus one if the kept part is even), then cut.
    bits = values.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def to_mlx(host: Array, target: Target) -> mx.array:
    """Copy a host array of the target's storage type into an MLX array of the target's type."""
    array = mx.array(host)
    return array.view(mx.bfloat16) if target is BFLOAT16 else array
