"""Writes safetensors: one tensor ``picture`` (H, W, C), with the notes as metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import BinaryIO

from zvae_tiled.sinks.texts import MOST_BYTES
from zvae_tiled.sinks.writer import Samples, Shape, Writer, raw_bytes

_NAMES = {8: "U8", 16: "U16", 32: "F32"}


class Safetensors(Writer):
    """Writes the header first, because the shape is known, and then the rows as they are."""

    bits = (32, 8, 16)
    text_room = MOST_BYTES

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write the header."""
        super().__init__(file, shape, bits, notes)
        file.write(safetensors_header("picture", _NAMES[bits], shape, raw_bytes(shape, bits), notes))

    def write(self, rows: Samples) -> None:
        """Write the rows as they are."""
        self.file.write(rows.data)

    def finish(self) -> None:
        """Do nothing: the file ends with the last row."""


def safetensors_header(name: str, dtype: str, shape: tuple[int, ...], size: int, notes: Mapping[str, str]) -> bytes:
    """Return the length and the header of a file with one tensor."""
    table = {"__metadata__": dict(notes), name: {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the data
    return len(text).to_bytes(8, "little") + text
