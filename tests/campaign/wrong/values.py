"""Values that no argument is meant for, or few are: each is made anew for each call."""

from __future__ import annotations

import io
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np


class EvilError(Exception):
    """Raised by the values below. A function may pass it on: the caller's own object raised it."""


class Evil:
    """Raises at whatever it is asked for."""

    def _raise(self, *_: Any) -> Any:
        raise EvilError

    __len__ = __iter__ = __index__ = __float__ = __fspath__ = __array__ = __getitem__ = __bool__ = __call__ = _raise


class Empty:
    """Has the methods of an array, and nothing in it."""

    shape, dtype, ndim = (), "float32", 0

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.zeros((0,), np.float32)


def _itself() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


def _generator() -> Iterator[int]:
    yield from range(3)


def _closed() -> io.BytesIO:
    file = io.BytesIO(b"content")
    file.close()
    return file


VALUES: tuple[Callable[[], Any], ...] = (
    *(
        lambda value=value: value
        for value in (None, True, False, 0, 1, -1, 3, 7, 10**9, 1 << 31, 1 << 63, 10**400, 10**5000)
    ),
    *(lambda value=value: value for value in (0.0, -0.0, 0.5, 1.5, -3.5, 1e300, float("inf"), float("nan"), 2 + 1j)),
    *(lambda value=value: value for value in ("", " ", "x", "\0", "a\0b", "\ud800", "é" * 3000, "\n\x1b[31m", "8GB")),
    *(
        lambda value=value: value
        for value in ("-1GB", "0%", "1000%", "nan", "inf", "1e400GB", "9" * 5000 + "GB", "../..")
    ),
    *(
        lambda value=value: value
        for value in ("/dev/null/x", "/dev/full", "missing/file", ".", "a" * 300, b"", b"bytes")
    ),
    *(
        lambda value=value: value
        for value in ((), (0,), (1, 2), (1, 2, 3), range(3), {"a": 1}, {1, 2}, int, len, types)
    ),
    *(lambda value=value: value for value in (Decimal("NaN"), Fraction(1, 3), Ellipsis, ValueError("x"))),
    *(lambda value=value: value for value in (Path("missing"), Path("/"), Path("x" * 300), memoryview(b"abc"))),
    *(list, dict, object, Evil, Empty, _itself, _deep, _generator, _closed),
    *(io.BytesIO, io.StringIO, lambda: io.BytesIO(b"\x93NUMPY"), lambda: lambda: None, lambda: lambda *_: None),
    *(lambda: [None], lambda: [[1, 2], [3]], lambda: [1, "a"], lambda: [float("nan")] * 3, lambda: bytearray(b"x" * 9)),
    *(lambda dtype=dtype: np.zeros((1, 4, 2, 2), dtype) for dtype in ("i4", "?", "c8", "S3", "O", "M8[s]", "f8", "u1")),
    *(lambda shape=shape: np.zeros(shape, "f4") for shape in ((), (0,), (3,), (1, 4, 0, 2), (1, 5, 2, 2), (1,) * 7)),
    *(lambda value=value: np.full((1, 4, 2, 2), value, "f4") for value in (np.nan, np.inf, -np.inf, 1e38)),
    lambda: np.broadcast_to(np.float32(0), (1 << 12, 4, 1 << 15, 1 << 15)),
    lambda: np.broadcast_to(np.float32(0), (1, 4, 1 << 31, 1)),
    *(lambda scalar=scalar: scalar for scalar in (np.int64(-1), np.float16("nan"), np.bool_(True), np.str_("x"))),
    *(lambda: mx.zeros((2, 2), mx.int32), lambda: mx.zeros(()), lambda: mx.zeros((1, 4, 2, 2), mx.complex64)),
)


def described(value: Any) -> str:
    """Return a short text for a value, whatever it is."""
    try:
        return f"{type(value).__name__} {value!r:.80}"
    except Exception:
        return type(value).__name__
