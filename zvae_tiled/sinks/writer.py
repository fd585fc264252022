"""What every kind of picture file has in common: what it can hold, what it costs, and how rows are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

import mlx.core as mx
import numpy as np

Shape = tuple[int, int, int]
"""Height, width and channels of a picture."""

Samples = np.ndarray[Any, np.dtype[Any]]
"""Some rows of a picture, (rows, width, channels), as they are stored."""

DTYPES: dict[int, np.dtype[Any]] = {8: np.dtype("<u1"), 16: np.dtype("<u2"), 32: np.dtype("<f4")}
"""What a channel of so many bits is stored as: levels of [0, 1], or the float itself."""

BLOCK = 1 << 18
"""Bytes of rows, as floats, that are converted and compressed at once; one row at least."""


class Writer(ABC):
    """Writes one picture, from top to bottom.

    Attributes:
        bits: Bits of a channel that it can store; the first is what it stores if nobody says.
        channels: How many channels it can have; None for any number.
        side: The longest side it can have, in pixels.
        pillow: What Pillow calls it, if Pillow writes it.
    """

    bits: ClassVar[tuple[int, ...]]
    channels: ClassVar[tuple[int, ...] | None] = None
    side: ClassVar[int] = (1 << 31) - 1
    pillow: ClassVar[str | None] = None

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Begin a file.

        Args:
            file: Open, empty and seekable.
            shape: The picture.
            bits: Of a channel.
            notes: What is to be said in the file, where the format has a place for it.
        """
        self.file = file
        self.shape = shape
        self.bits_used = bits

    @abstractmethod
    def write(self, rows: Samples) -> None:
        """Write the next rows."""

    @abstractmethod
    def finish(self) -> None:
        """Write what stands behind the last row."""

    @staticmethod
    def gathered(shape: Shape, bits: int) -> int:
        """Return the bytes of rows it gathers, outside MLX's allocator; a block or two are not counted."""
        del shape, bits  # rows are written as they come
        return 0

    @classmethod
    def largest(cls, shape: Shape, bits: int) -> int:
        """Return the bytes a file may take at worst: noise does not compress, and has its bookkeeping."""
        size = raw_bytes(shape, bits)
        return size + size // 64 + shape[0] + (1 << 16)


def raw_bytes(shape: Shape, bits: int) -> int:
    """Return the bytes of a picture that is not compressed."""
    return shape[0] * shape[1] * shape[2] * bits // 8


def samples(rows: mx.array, bits: int) -> Iterator[Samples]:
    """Turn rows (1, rows, W, C) of floats in [0, 1] into what is stored, a block at a time."""
    step = max(1, BLOCK // (rows.shape[2] * rows.shape[3] * 4))
    for top in range(0, rows.shape[1], step):
        block = rows[0, top : top + step].astype(mx.float32)
        if bits != 32:
            block = mx.round(block * float((1 << bits) - 1)).astype(mx.uint8 if bits == 8 else mx.uint16)
        yield np.ascontiguousarray(np.asarray(block), DTYPES[bits])
