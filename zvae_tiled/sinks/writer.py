"""`Writer`, the base class of all picture formats: what a format can hold, what it costs, and how rows are written."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO, ClassVar

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.evaluated import evaluate

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
        resumes: Whether it can go on with a file that another process began: it has `state` and `resume`.
        beside: Whether it also fills a folder beside the file, which it takes as `folder`.
    """

    bits: ClassVar[tuple[int, ...]]
    channels: ClassVar[tuple[int, ...] | None] = None
    side: ClassVar[int] = (1 << 31) - 1
    pillow: ClassVar[str | None] = None
    seeks: ClassVar[bool] = False
    resumes: ClassVar[bool] = False
    beside: ClassVar[bool] = False
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

    def state(self) -> dict[str, Any] | None:
        """Return what `resume` needs to go on from here, as plain values: what is new since the last state.

        Only bytes that were handed to the file are vouched for. None if there is nothing yet.
        """
        return None

    def resume(self, states: Sequence[dict[str, Any]]) -> int:
        """Go on with a file that another process began, and cut off what no state vouches for.

        Args:
            states: All states of the file, oldest first, at least one.

        Returns:
            The row of the picture that `write` takes next. It is never behind the last.
        """
        raise NotImplementedError

    def stop(self) -> None:  # noqa: B027, most have nothing to end
        """End what is still at work, after an error. A second call changes nothing."""

    def holds(self) -> Iterable[str]:
        """Return the names in the folder beside the file, those in a folder before that folder."""
        return ()

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


class RowsWriter(Writer):
    """Writes a header, and then all rows as they are."""

    bits = (32, 8, 16)
    resumes = True

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, header: bytes) -> None:
        """Write the header. The shape is known before the first row."""
        super().__init__(file, shape, bits, {})
        self._header = len(header)
        self._rows = 0
        file.write(header)

    def write(self, rows: Samples) -> None:
        """Write the rows as they are."""
        self.file.write(rows.data)
        self._rows += len(rows)

    def finish(self) -> None:
        """Do nothing: the file ends with the last row."""

    def state(self) -> dict[str, Any] | None:
        """Return how many rows are written."""
        return {"rows": self._rows}

    def resume(self, states: Sequence[dict[str, Any]]) -> int:
        """Go on behind the last row, or with it if the picture has no other."""
        self._rows = min(int(states[-1]["rows"]), self.shape[0] - 1)
        cut_off(self.file, self._header + self._rows * raw_bytes((1, *self.shape[1:]), self.bits_used))
        return self._rows


def cut_off(file: BinaryIO, size: int) -> None:
    """Let a file end after `size` bytes, which it has, and go on there."""
    file.flush()
    if os.fstat(file.fileno()).st_size < size:
        raise OSError(errno.EIO, f"the file is shorter than the {size:,} bytes that were written")
    file.truncate(size)
    file.seek(size)


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
        evaluate(block)
        yield np.ascontiguousarray(np.asarray(block), DTYPES[bits])
