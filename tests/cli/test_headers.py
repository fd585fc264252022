"""Headers of .npy files that lie about their shape: exit code 3, whichever command reads them."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest

from tests.support.running import run

SHAPES = (
    "(-1, -6)",
    "(1, 4, -6, -10)",
    "(-1, 4, 6, 10)",
    "(True, 4, 6, 10)",
    f"({'1, ' * 70})",
    f"({'1, ' * 40})",
    f"({2**31}, 0)",
    f"(0, {2**31}, 4, 4)",
    f"(1, 4, 6, {2**31})",
    f"({2**63}, 0)",
    "(1.0, 4)",
    "[1, 4, 6, 10]",
    "(" * 90,
    "()",
)


def write(path: Path, shape: str, kind: str = "'<f4'") -> None:
    """A file with as many values as the shape claims, if they are few."""
    try:
        count = int(abs(prod(eval(shape))))
    except (SyntaxError, TypeError):
        count = 1
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    values = bytes(4 * count) if count < 1000 else b""
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + values)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape[:20])
@pytest.mark.sample(3)
def test_a_header_that_lies_is_bad_input(place: Path, shape: str) -> None:
    write(place / "h.npy", shape)
    for words in (
        ("decode", "h.npy", "-o", "h.png"),
        ("decode", "h.npy", "-o", "h.png", "--height", "8", "--width", "8"),
        ("inspect", "h.npy"),
        ("encode", "h.npy", "-o", "o.npy"),
    ):
        assert "h.npy" in run(*words, code=3).stderr


@pytest.mark.parametrize("kind", ["'|b1'", "'O'", "'<V4'", "[('a', '<f4')]", "'<M8[s]'", "'<i4'", "3", "''"])
def test_a_type_that_holds_no_latents_is_bad_input(place: Path, kind: str) -> None:
    write(place / "h.npy", "(1, 4, 2, 2)", kind)
    assert "h.npy" in run("decode", "h.npy", "-o", "h.png", code=3).stderr
