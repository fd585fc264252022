"""The parts of a PNG: chunks, filtered rows, and compressed blocks of them, each by itself."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from zvae_tiled.sinks.writer import Samples, Shape

COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour types by channels: grey, grey with alpha, RGB, RGB with alpha."""

ZLIB_HEADER = b"\x78\x01"
"""Begins a stream of zlib: deflate with a window of 32 kB, compressed fast."""

END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))

_AVERAGE = 3
"""The number of the filter that stores each byte's difference from the mean of the bytes to the left and above.

With run lengths alone (Z_RLE), files of grainy pictures are smaller than with zlib's level 6, and several times as
fast to write: benchmarks/pictures.py, docs/files.md. A run reaches one byte back, so blocks lose nothing by beginning
without the bytes before them.
"""

_BASE = 65521
"""The modulus of Adler-32."""


@dataclass(frozen=True)
class Block:
    """Compressed rows.

    Attributes:
        chunk: An IDAT, in pieces.
        size: Bytes of the filtered rows.
        adler: Their Adler-32.
    """

    chunk: tuple[bytes, ...]
    size: int
    adler: int


def beginning(shape: Shape, bits: int) -> bytes:
    """Return the signature, the header and the colour space."""
    height, width, channels = shape
    header = struct.pack(">IIBBBBB", width, height, bits, COLOURS[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"sRGB", bytes(1))  # perceptual


def stored_rows(rows: Samples) -> Samples:
    """Return rows as PNG stores them, (rows, bytes): big-endian."""
    big = np.ascontiguousarray(rows, rows.dtype.newbyteorder(">"))
    return big.view(np.uint8).reshape(len(rows), -1)


def filtered(stored: Samples, pixel: int) -> Samples:
    """Return filtered rows, each with the number of its filter.

    Args:
        stored: The row above the first, then the rows.
        pixel: Bytes of a pixel.
    """
    above, rows = stored[:-1], stored[1:]
    # (a & b) + ((a ^ b) >> 1) is the mean of two bytes, rounded down. It needs no wider type.
    mean = above >> 1  # of the first pixel, which has none to its left
    mean[:, pixel:] = rows[:, :-pixel] ^ above[:, pixel:]
    mean[:, pixel:] >>= 1
    mean[:, pixel:] += rows[:, :-pixel] & above[:, pixel:]
    result = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    result[:, 0] = _AVERAGE
    np.subtract(rows, mean, out=result[:, 1:])
    return result


def compressed(stored: Samples, pixel: int, last: bool) -> Block:
    """Filter and compress rows by themselves.

    Args:
        stored: As in `filtered`.
        pixel: As in `filtered`.
        last: Whether the picture ends with them.
    """
    data = filtered(stored, pixel)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS, strategy=zlib.Z_RLE)
    parts = deflate.compress(data.data), deflate.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(b"IDAT")
    for part in parts:
        crc = zlib.crc32(part, crc)
    start = struct.pack(">I", sum(map(len, parts))) + b"IDAT"
    return Block((start, *parts, struct.pack(">I", crc)), data.nbytes, zlib.adler32(data.data))


def whole_png(rows: Samples) -> tuple[bytes, ...]:
    """Return a PNG without notes, in pieces."""
    height, _, channels = rows.shape
    stored = stored_rows(rows)
    stored = np.concatenate([np.zeros_like(stored[:1]), stored])
    block = compressed(stored, channels * rows.dtype.itemsize, last=True)
    start = beginning((height, rows.shape[1], channels), 8 * rows.dtype.itemsize) + chunk(b"IDAT", ZLIB_HEADER)
    return start, *block.chunk, chunk(b"IDAT", struct.pack(">I", block.adler)) + END


def adler_of_both(first: int, second: int, size: int) -> int:
    """Return the Adler-32 of two texts in a row, from those of each and the size of the second."""
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + size * ((first & 0xFFFF) - 1)
    return high % _BASE << 16 | low % _BASE


def text_chunk(keyword: str, text: str) -> bytes:
    """Return a tEXt, as ComfyUI reads its workflow, or an iTXt for text beyond ASCII."""
    if text.isascii():
        return chunk(b"tEXt", keyword.encode() + bytes(1) + text.encode())
    return chunk(b"iTXt", keyword.encode() + bytes(5) + text.encode())  # not compressed, no language, no translation


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk: its length, its kind, the data, and their checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
