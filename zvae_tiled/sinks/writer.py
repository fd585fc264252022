"""`Writer`, the base class of all picture formats: what a format can hold, what it costs, and how rows are written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

import mlx.core as mx
import numpy as np

Shape = tuple[int, int, int]
"""Height, width and channels of a picture."""

Samples = np.ndarray[Any, np.dtype[Any]]
"""Rows of a picture, (rows, width, channels), in their stored type."""

DTYPES: dict[int, np.dtype[Any]] = {8: np.dtype("<u1"), 16: np.dtype("<u2"), 32: np.dtype("<f4")}
"""The stored type of a channel, by its bits: integer levels of [0, 1], or the float itself."""

BLOCK = 1 << 18
"""Bytes of float rows that are converted and compressed at a time. It is at least one row."""


class Writer(ABC):
    """Writes one picture, from top to bottom.

    Attributes:
        bits: Bits of a channel that the format can store. The first is the default.
        channels: Numbers of channels that the format can store; None for any number.
        side: The longest side that the format can store, in pixels.
        pillow: Pillow's name for the format, if Pillow writes it.
        text_room: The most bytes of texts of the caller that it holds beside our notes.
        seeks: Whether it writes at earlier places again.
    """

    bits: ClassVar[tuple[int, ...]]
    channels: ClassVar[tuple[int, ...] | None] = None
    side: ClassVar[int] = (1 << 31) - 1
    pillow: ClassVar[str | None] = None
    seeks: ClassVar[bool] = False
    text_room: ClassVar[int] = 0

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Begin a file.

        Args:
            file: An open, empty file. It can seek if the format does.
            shape: The picture's shape.
            bits: Bits of a channel.
            notes: Notes for the file, if the format has a place for them.
        """
        self.file = file
        self.shape = shape
        self.bits_used = bits

    @abstractmethod
    def write(self, rows: Samples) -> None:
        """Write the next rows."""

    @abstractmethod
    def finish(self) -> None:
        """Write everything that follows the last row."""

    @staticmethod
    def gathered(shape: Shape, bits: int) -> int:
        """Return the bytes of rows that it gathers outside MLX's allocator. One or two blocks are not counted."""
        del shape, bits  # rows are written at once
        return 0

    @classmethod
    def largest(cls, shape: Shape, bits: int) -> int:
        """Return the most bytes a file may have: noise does not compress, and compression adds some bytes."""
        size = raw_bytes(shape, bits)
        return size + size // 64 + shape[0] + (1 << 16)


def raw_bytes(shape: Shape, bits: int) -> int:
    """Return the bytes of an uncompressed picture."""
    return shape[0] * shape[1] * shape[2] * bits // 8


def samples(rows: mx.array, bits: int) -> Iterator[Samples]:
    """Convert rows (1, rows, W, C) of floats in [0, 1] to the stored type, one block at a time."""
    step = max(1, BLOCK // (rows.shape[2] * rows.shape[3] * 4))
    for top in range(0, rows.shape[1], step):
        block = rows[0, top : top + step].astype(mx.float32)
        if bits != 32:
            block = mx.round(block * float((1 << bits) - 1)).astype(mx.uint8 if bits == 8 else mx.uint16)
        yield np.ascontiguousarray(np.asarray(block), DTYPES[bits])
