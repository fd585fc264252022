"""Directories of a TIFF or a BigTIFF: the fields that describe one picture in the file."""

from __future__ import annotations

import json
import struct
from typing import BinaryIO

from zvae_tiled.sinks.writer import Shape

SHORT, LONG, LONG8, TEXT, RATIO = 3, 4, 16, 2, 5
"""Types of fields."""

_CODES = {SHORT: "H", LONG: "I", LONG8: "Q"}

Field = tuple[int, int, list[int] | bytes]
"""Tag, type and values."""

HALF: list[Field] = [(254, LONG, [1])]
"""What only the directory of a half has: it is a smaller version of another picture."""


def picture_fields(shape: Shape, tile: tuple[int, int], bits: int) -> list[Field]:
    """Return what all directories have, but for the places and sizes of tiles."""
    height, width, channels = shape
    fields: list[Field] = [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [bits] * channels),
        (259, SHORT, [8]),  # deflate
        (262, SHORT, [2 if channels > 2 else 1]),  # RGB, or grey that begins at black
        (277, SHORT, [channels]),
        (284, SHORT, [1]),  # the channels of a pixel are stored together
        (317, SHORT, [1 if bits == 32 else 2]),  # the horizontal predictor
        (322, LONG, [tile[1]]),
        (323, LONG, [tile[0]]),
        (339, SHORT, [3 if bits == 32 else 1] * channels),
    ]
    if channels in (2, 4):
        fields.append((338, SHORT, [2]))  # alpha, not premultiplied
    return fields


def notes_fields(notes: dict[str, str], halves: list[int]) -> list[Field]:
    """Return what only the picture's own directory has: notes, a resolution, and the directories of its halves."""
    fields: list[Field] = [
        (270, TEXT, json.dumps(notes).encode() + b"\0"),
        (282, RATIO, struct.pack("<II", 72, 1)),
        (283, RATIO, struct.pack("<II", 72, 1)),
        (296, SHORT, [2]),  # inches: baseline readers may require a resolution
        (305, TEXT, notes.get("Software", "").encode("ascii", "replace") + b"\0"),
    ]
    return [*fields, (330, LONG8, halves)] if halves else fields


def tiff_header(big: bool, directory: int) -> bytes:
    """Return the first bytes of a file, which point to the first directory."""
    if big:
        return struct.pack("<2sHHHQ", b"II", 43, 8, 0, directory)
    return struct.pack("<2sHI", b"II", 42, directory)


def write_directory(file: BinaryIO, fields: list[Field], big: bool) -> int:
    """Write the values that do not fit into their field, then the fields. Return the offset of the fields."""
    count, entry, inline = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    entries = []
    for tag, kind, values in sorted(fields, key=lambda field: field[0]):
        if isinstance(values, bytes):
            data, number = values, 1 if kind == RATIO else len(values)
        else:
            data, number = struct.pack(f"<{len(values)}{_CODES[kind]}", *values), len(values)
        if len(data) > inline:
            align(file)
            at = file.tell()
            file.write(data)
            data = at.to_bytes(inline, "little")
        entries.append(struct.pack(entry, tag, kind, number) + data.ljust(inline, b"\0"))
    align(file)
    place = file.tell()
    file.write(struct.pack(count, len(entries)) + b"".join(entries) + bytes(inline))  # no directory follows
    return place


def align(file: BinaryIO) -> None:
    """Go on at a multiple of eight bytes."""
    file.write(bytes(-file.tell() % 8))
