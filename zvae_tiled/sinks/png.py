"""Writes PNG of 8 or 16 bits: blocks of rows, compressed on all cores, in memory that does not grow with the height."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from zvae_tiled.sinks.crew import STATE, Crew, at_work
from zvae_tiled.sinks.png_parts import (
    COLOURS,
    END,
    ZLIB_HEADER,
    Block,
    adler_of_both,
    beginning,
    chunk,
    compressed,
    stored_rows,
    text_chunk,
)
from zvae_tiled.sinks.texts import MOST_BYTES
from zvae_tiled.sinks.writer import Samples, Shape, Writer, cut_off

BLOCK = 1 << 17
"""Bytes of rows that are compressed by themselves. It is at least one row."""

_COPIES = 5
"""A block's copies while it is compressed: stored, three while it is filtered, and the compressed one twice."""


class Png(Writer):
    """Cuts the picture into blocks at the same rows, however they come. One thread filters and compresses each."""

    bits = (8, 16)
    channels = tuple(COLOURS)
    text_room = MOST_BYTES
    resumes = True

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write the header, the colour space and the notes."""
        super().__init__(file, shape, bits, notes)
        rows, self._line, most = _blocks(shape, bits)
        self._pixel = shape[2] * bits // 8
        self._block = np.zeros((1 + rows, self._line), np.uint8)  # the first row is the one above
        self._filled = 0
        self._left = shape[0]
        self._adler = 1
        self._rows = 0  # of the blocks in the file
        self._state: dict[str, Any] | None = None
        self._crew = Crew[Block](most, self._put)
        texts = (text_chunk(keyword, text) for keyword, text in notes.items())
        self._size = 0  # counted, because a file object may have no `tell`
        for piece in (beginning(shape, bits), *texts, chunk(b"IDAT", ZLIB_HEADER)):
            self._append(piece)

    @staticmethod
    def gathered(shape: Shape, bits: int) -> int:
        """Return the bytes of blocks that are compressed at a time, and of the one that is filled."""
        rows, line, most = _blocks(shape, bits)
        size = (1 + rows) * (1 + line)
        few = most == 1 and size <= 2 * BLOCK
        return 0 if few else most * (_COPIES * size + STATE) + size

    def write(self, rows: Samples) -> None:
        """Gather rows, and hand them over when they fill a block."""
        stored = stored_rows(rows)
        while len(stored):
            count = min(len(stored), len(self._block) - 1 - self._filled)
            self._block[1 + self._filled : 1 + self._filled + count] = stored[:count]
            self._filled += count
            self._left -= count
            stored = stored[count:]
            if self._filled == len(self._block) - 1 or not self._left:
                self._hand_over()

    def finish(self) -> None:
        """Write the rest of the compressed data, and the end of the file."""
        self._crew.finish()
        self.file.write(chunk(b"IDAT", struct.pack(">I", self._adler)) + END)

    def state(self) -> dict[str, Any] | None:
        """Return rows, bytes and checksum of the blocks that are written. The last of the picture is not counted."""
        return self._state

    def resume(self, states: Sequence[dict[str, Any]]) -> int:
        """Go on with a new block. It needs the row above: that is the next row to write."""
        state = states[-1]
        self._rows, self._adler = int(state["rows"]), int(state["adler"])
        self._size = int(state["size"])
        cut_off(self.file, self._size)
        self._state = state
        self._filled, self._left = -1, self.shape[0] - self._rows + 1
        self._block = self._block[: self._left]
        return self._rows - 1

    def stop(self) -> None:
        """End the threads."""
        self._crew.stop()

    def _hand_over(self) -> None:
        block, self._filled = self._block[: 1 + self._filled], 0
        self._block = np.empty((1 + min(len(self._block) - 1, self._left), self._line), np.uint8)
        self._block[0] = block[-1]
        self._crew.give(partial(compressed, block, self._pixel, last=not self._left))

    def _put(self, block: Block) -> None:
        for piece in block.chunk:
            self._append(piece)
        self._adler = adler_of_both(self._adler, block.adler, block.size)
        self._rows += block.size // (1 + self._line)
        if self._rows < self.shape[0]:
            self._state = {"rows": self._rows, "size": self._size, "adler": self._adler}

    def _append(self, piece: bytes) -> None:
        self.file.write(piece)
        self._size += len(piece)


def _blocks(shape: Shape, bits: int) -> tuple[int, int, int]:
    """Return the rows of a block, the bytes of a row, and how many blocks are compressed at a time."""
    line = shape[1] * shape[2] * bits // 8
    rows = min(shape[0], max(1, BLOCK // (1 + line)))
    return rows, line, at_work(rows * (1 + line), -(-shape[0] // rows))
