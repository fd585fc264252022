"""NumPy's own format: one array (H, W, C), as `numpy.load` reads it, also memory-mapped."""

from __future__ import annotations

import struct
from typing import BinaryIO

from zvae_tiled.sinks.writer import DTYPES, Samples, Shape, Writer


class Npy(Writer):
    """Version 1.0 of the format; it has no place for notes."""

    bits = (32, 8, 16)

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write the header: the shape is known before the first row."""
        super().__init__(file, shape, bits, notes)
        text = f"{{'descr': '{DTYPES[bits].str}', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (-(len(text) + 11) % 64) + "\n"
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())

    def write(self, rows: Samples) -> None:
        """Write the rows as they are."""
        self.file.write(rows.data)

    def finish(self) -> None:
        """Nothing stands behind the last row."""
