"""PNG and TIFF read back without the code that wrote them: from the formats' descriptions, every field checked."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

Pixels = np.ndarray[Any, np.dtype[Any]]

CHANNELS = {0: 1, 4: 2, 2: 3, 6: 4}


def read_png(path: Path) -> tuple[Pixels, dict[str, str]]:
    """Pixels (H, W, C) and texts of a PNG of 8 or 16 bits."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at, texts = [], 8, {}
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + length
    assert chunks[-1] == (b"IEND", b"")
    width, height, bits, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert rest == [0, 0, 0]
    kinds = [kind for kind, _ in chunks]
    assert kinds.count(b"sRGB") == 1
    assert kinds.index(b"sRGB") < kinds.index(b"IDAT")
    assert dict(chunks)[b"sRGB"] == bytes(1)
    for kind, body in chunks:
        keyword, _, text = body.partition(b"\0")
        if kind == b"tEXt":
            texts[keyword.decode("ascii")] = text.decode("ascii")
        if kind == b"iTXt":
            assert text[:4] == bytes(4)
            texts[keyword.decode("latin-1")] = text[4:].decode()
    pixel = CHANNELS[colour] * bits // 8
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    rows = _unfiltered(np.frombuffer(raw, np.uint8).reshape(height, 1 + width * pixel), pixel)
    stored = rows.view(np.uint8 if bits == 8 else ">u2").reshape(height, width, CHANNELS[colour])
    return stored.astype(stored.dtype.newbyteorder("=")), texts


def _unfiltered(filtered: Pixels, pixel: int) -> Pixels:
    out = np.zeros((len(filtered), filtered.shape[1] - 1), np.uint8)
    above = np.zeros(out.shape[1], int)
    for row, (kind, *values) in zip(out, filtered.tolist(), strict=True):
        assert kind == 3, "the mean of left and above"
        for i, value in enumerate(values):
            left = int(row[i - pixel]) if i >= pixel else 0
            row[i] = (value + (left + above[i]) // 2) % 256
        above = row.astype(int)
    return out


def read_tiff(path: Path) -> tuple[Pixels, dict[int, Any]]:
    """Pixels (H, W, C) and fields of a tiled, deflated TIFF or BigTIFF."""
    data = path.read_bytes()
    assert data[:2] == b"II"
    big = struct.unpack_from("<H", data, 2)[0] == 43
    (at,) = struct.unpack_from("<Q", data, 8) if big else struct.unpack_from("<I", data, 4)
    return _directory(data, at, big)


def read_pyramid(path: Path) -> list[Pixels]:
    """Pixels of a BigTIFF and of its SubIFDs."""
    pixels, fields = read_tiff(path)
    data = path.read_bytes()
    assert data[2] == 43
    assert 254 not in fields
    levels = [pixels]
    for at in fields.get(330, ()):
        pixels, fields = _directory(data, at, big=True)
        assert fields[254] == (1,), "a smaller version of another picture"
        levels.append(pixels)
    return levels


def _directory(data: bytes, at: int, big: bool) -> tuple[Pixels, dict[int, Any]]:
    fields = _fields(data, at, big)
    height, width, channels = fields[257][0], fields[256][0], fields[277][0]
    assert fields[259] == (8,)
    assert fields[284] == (1,)
    assert len(fields[258]) == len(fields[339]) == channels
    assert fields.get(338) == {1: None, 2: (2,), 3: None, 4: (2,)}[channels]
    dtype = np.dtype({(8, 1): "<u1", (16, 1): "<u2", (32, 3): "<f4"}[fields[258][0], fields[339][0]])
    tall, wide = fields[323][0], fields[322][0]
    assert tall % 16 == wide % 16 == 0
    down, across = -(-height // tall), -(-width // wide)
    assert len(fields[324]) == len(fields[325]) == down * across
    whole = np.zeros((down * tall, across * wide, channels), dtype)
    for number, (place, size) in enumerate(zip(fields[324], fields[325], strict=True)):
        tile = np.frombuffer(zlib.decompress(data[place : place + size]), dtype).reshape(tall, wide, channels)
        if fields[317] == (2,):
            tile = np.cumsum(tile, axis=1, dtype=dtype)
        top, left = number // across * tall, number % across * wide
        whole[top : top + tall, left : left + wide] = tile
    return whole[:height, :width], fields


def _fields(data: bytes, at: int, big: bool) -> dict[int, Any]:
    count, entry, inline = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    (number,) = struct.unpack_from(count, data, at)
    at += struct.calcsize(count)
    fields: dict[int, Any] = {}
    for _ in range(number):
        tag, kind, length = struct.unpack_from(entry, data, at)
        at += struct.calcsize(entry)
        code = {2: "s", 3: "H", 4: "I", 5: "II", 16: "Q"}[kind]
        form = f"<{length}s" if code == "s" else f"<{length * len(code)}{code[0]}"
        place = at
        if struct.calcsize(form) > inline:
            place = int.from_bytes(data[at : at + inline], "little")
            assert place % 2 == 0
        fields[tag] = struct.unpack_from(form, data, place)
        at += inline
    assert data[at : at + inline] == bytes(inline), "one directory"
    assert list(fields) == sorted(fields)
    return fields
