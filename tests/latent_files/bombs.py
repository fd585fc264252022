"""Files below 1 MiB that claim, or unpack to, far more than they hold."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable

SIZE = 80_000_000
"""Bytes that a bomb unpacks to. Zip packs them into 78 kB if they are zeros."""

LATENTS = "(1, 16, 1250, 1000)"
"""Shape of latents of `SIZE` bytes."""


def _header(shape: str, descr: str = "'<f4'", version: int = 1) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY" + bytes((version, 0)) + len(text).to_bytes(2 * version, "little") + text


SMALL, _LARGE = _header("(1, 4, 1, 1)"), _header("(1, 4, 500, 1000)")


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _with_size(archive: bytes, size: int) -> bytes:
    """Change the unpacked size in the directory of an archive with one member."""
    place = archive.rindex(b"PK\x01\x02")
    return archive[: place + 24] + struct.pack("<I", size) + archive[place + 28 :]


def _encrypted() -> bytes:
    archive = bytearray(_zip({"latents.npy": SMALL + bytes(16)}))
    archive[archive.rindex(b"PK\x01\x02") + 8] |= 1
    archive[6] |= 1
    return bytes(archive)


def _twice() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for _ in range(2):
                archive.writestr("latents.npy", SMALL + bytes(16))
    return file.getvalue()


def _safetensors(header: str) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode()


def _many_tensors() -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return _safetensors(json.dumps({f"{i:x}": empty for i in range(15_000)}))


def _long_shapes() -> bytes:
    shape = [1] * 150_000
    tensors = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate("abc")
    }
    return _safetensors(json.dumps(tensors, separators=(",", ":"))) + bytes(12)


def _slow_headers() -> bytes:
    columns = ", ".join(f"('{i}', '<f4')" for i in range(24))
    return _zip({f"{i}.npy": _header("(1, )", f"[{columns}]") + bytes(96) for i in range(500)})


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros": (
        lambda: _zip({"latents.npy": _header(LATENTS) + bytes(SIZE)}),
        f"would unpack to {SIZE:,} bytes",
    ),
    "a large note": (
        lambda: _zip({"latents.npy": SMALL + bytes(16), "height.npy": _header("()", f"'<U{SIZE // 4}'") + bytes(SIZE)}),
        "height must be text or a number of at most 1,024 bytes",
    ),
    "a large header": (
        lambda: _zip({"latents.npy": b"\x93NUMPY\x02\x00" + SIZE.to_bytes(4, "little") + bytes(SIZE)}),
        f"it claims {SIZE:,} bytes",
    ),
    "bzip2": (
        lambda: _zip({"latents.npy": _header(LATENTS) + bytes(SIZE)}, zipfile.ZIP_BZIP2),
        "packed with zip method 12",
    ),
    "lzma": (
        lambda: _zip({"latents.npy": _header(LATENTS) + bytes(SIZE)}, zipfile.ZIP_LZMA),
        "packed with zip method 14",
    ),
    "many arrays": (lambda: _zip({f"{i}.npy": b"" for i in range(9_000)}), "the limit is 500"),
    "slow headers": (_slow_headers, "and 480 more"),
    "more than it says": (
        lambda: _with_size(_zip({"latents.npy": SMALL + bytes(SIZE)}), len(SMALL) + 16),
        "Bad CRC-32",
    ),
    "less than it says": (
        lambda: _with_size(_zip({"latents.npy": _LARGE + bytes(16)}), len(_LARGE) + 8_000_000),
        "ends after 16 of 8,000,000 bytes",
    ),
    "encrypted": (_encrypted, "is encrypted"),
    "twice": (_twice, "holds 'latents.npy' 2 times"),
    "many tensors": (_many_tensors, "and 14,980 more"),
    "long shapes": (_long_shapes, "… 150,000 axes"),
    "much metadata": (
        lambda: _safetensors(json.dumps({"__metadata__": {f"{i:x}": "" for i in range(80_000)}})),
        "holds no latents",
    ),
    "lists in lists": (lambda: _safetensors('{"a":' + "[" * 500_000 + "}"), "nested too deeply"),
    "many lists": (lambda: _safetensors('{"a":[' + "[]," * 340_000 + "[]]}"), "does not have exactly dtype"),
    "parentheses": (lambda: _header("(" * 200 + ")" * 200), "no valid .npy header"),
    "long numbers": (lambda: _header("(" + "9" * 400 + ", 4)"), "not a tuple of lengths"),
    "many axes": (lambda: _header(f"({'1,' * 64})") + bytes(4), "… 64 axes"),
    "an array of nothing": (lambda: _header("(0, 4611686018427387904)"), "holds no latents"),
}
"""Each file, and a part of its error message."""
