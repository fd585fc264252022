"""Finds pictures with more than 8 bits a channel that Pillow would cut to 8 without a word."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

HEAD = 1 << 20
"""Bytes at a file's start that are searched for its depth."""

SIZ = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream and of its SIZ segment (ISO 15444-1, A.5.1)."""

COMPONENTS, DEPTHS = 40, 42
"""Bytes from `SIZ` to the number of components, and to the three bytes of each, of which the first holds its depth."""

HIGH_BITDEPTH = 0x40
"""The bit of an AVIF's ``av1C`` box for 10 or 12 bits, in its third byte (AV1 in ISOBMFF, 2.3.3)."""


def is_cut(image: Any, file: BinaryIO) -> bool:
    """Return whether Pillow reads this opened picture with fewer bits a channel than the file has, or may do so.

    Args:
        image: Pillow's picture, of which no pixel was read.
        file: The file it was opened from.
    """
    raw = str(image.tile)
    if image.mode == "I" or (image.mode.startswith("I;16") and "I;12" not in raw):
        return False
    if image.format == "PPM":
        return any(isinstance(tile[3], tuple) and _highest(tile[3]) > 255 for tile in image.tile)
    if image.format == "JPEG2000":
        return any(depth & 0x7F > 7 for depth in _depths(_head(file)))  # it holds the bits less one
    if image.format == "AVIF":
        boxes = [found[1] for found in re.finditer(rb"av1C..(.)", _head(file), re.DOTALL)]
        return not boxes or any(third[0] & HIGH_BITDEPTH for third in boxes)
    return ";16" in raw or "I;12" in raw


def _highest(arguments: tuple[Any, ...]) -> int:
    """Return the largest level of a PPM, the last argument of its decoder."""
    return arguments[-1] if isinstance(arguments[-1], int) else 0


def _depths(head: bytes) -> bytes:
    """Return the depths of a JPEG 2000's components; one that is too deep if the head does not tell them."""
    start = head.find(SIZ)
    count = int.from_bytes(head[start + COMPONENTS : start + DEPTHS], "big") if start >= 0 else 0
    return head[start + DEPTHS : start + DEPTHS + 3 * count : 3] if count else b"\x7f"


def _head(file: BinaryIO) -> bytes:
    before = file.tell()
    file.seek(0)
    head = file.read(HEAD)
    file.seek(before)
    return head
