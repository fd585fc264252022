"""Writes safetensors: one tensor ``picture`` (H, W, C), with the notes as metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import BinaryIO

from zvae_tiled.sinks.texts import MOST_BYTES
from zvae_tiled.sinks.writer import RowsWriter, Shape, raw_bytes

_NAMES = {8: "U8", 16: "U16", 32: "F32"}


class Safetensors(RowsWriter):
    """Writes the notes into the header."""

    text_room = MOST_BYTES

    def __init__(self, file: BinaryIO, shape: Shape, bits: int, notes: dict[str, str]) -> None:
        """Write the header."""
        header = safetensors_header("picture", _NAMES[bits], shape, raw_bytes(shape, bits), notes)
        super().__init__(file, shape, bits, header)


def safetensors_header(name: str, dtype: str, shape: tuple[int, ...], size: int, notes: Mapping[str, str]) -> bytes:
    """Return the length and the header of a file with one tensor."""
    table = {"__metadata__": dict(notes), name: {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # aligns the data
    return len(text).to_bytes(8, "little") + text
