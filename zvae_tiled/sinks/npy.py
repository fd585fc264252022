"""Writes NumPy's format: one array (H, W, C) for `numpy.load`, also memory-mapped."""

from __future__ import annotations

import struct
from typing import BinaryIO

from zvae_tiled.sinks.writer import DTYPES, Samples, Shape, Writer


class Npy(Writer):
    """Writes version 1.0 of the format, which has no place for notes."""

    bits = (32, 8, 16)

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write the header. The shape is known before the first row."""
        super().__init__(file, shape, bits, notes)
        text = f"{{'descr': '{DTYPES[bits].str}', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (-(len(text) + 11) % 64) + "\n"
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())

    def write(self, rows: Samples) -> None:
        """Write the rows as they are."""
        self.file.write(rows.data)

    def finish(self) -> None:
        """Do nothing: the file ends with the last row."""
