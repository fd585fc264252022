"""Writes NumPy's format: one array (H, W, C) for `numpy.load`, also memory-mapped."""

from __future__ import annotations

import struct
from typing import BinaryIO

from zvae_tiled.sinks.writer import DTYPES, RowsWriter, Shape


class Npy(RowsWriter):
    """Writes version 1.0 of the format, which has no place for notes."""

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write the header."""
        del notes
        text = f"{{'descr': '{DTYPES[bits].str}', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (-(len(text) + 11) % 64) + "\n"
        super().__init__(file, shape, bits, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
