"""Damages files at random: bytes of any file, and values of JSON."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

from tests.planner.tampering import changed, paths

TOKENS = (
    *(b"0", b"-0", b"-1", b"1.0", b"1e2", b"1e400", b"18446744073709551616", b"4611686018427387905", b"NaN", b"null"),
    *(b"true", b'"F32"', b'"BF16"', b'"U4"', b'"\\ud800"', b'"\\u0000"', b'""', b"[]", b"{}", b"[", b"]", b"{", b"}"),
    *(b",", b":", b" ", b"\0", b"\xff", b'"shape"', b'"dtype"', b'"data_offsets"', b'"__metadata__"', b"[0,4]", b"[1]"),
    *(b"\xef\xbb\xbf", b"\xff" * 8, bytes(8), b"\x00\x00\x00\x80", b"PK\x03\x04", b"\x93NUMPY", b"../", b"/dev/zero"),
)
"""What formats are made of, and what readers stumble over."""

NUMBERS = (0, 1, 2, 3, 4, 7, 8, 31, 255, 256, 65535, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1)

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 16, 0.0, -0.0, 0.5, 1.0, 1e300, float("inf"), float("nan"), 1 << 31, 10**9),
    *(
        10**18,
        -(10**18),
        10**30,
        10**400,
        "",
        "0",
        "1",
        "a",
        "\0",
        "\ud800",
        "é",
        "x" * 300,
        "../a",
        "/dev/zero",
        "ram",
    ),
    *("disk", "float32", "F32", "none", [], [0], [1, 1], [[]], [None], {}, {"a": 1}, [1] * 70, ["a"] * 3),
)
"""Values that take the place of others in JSON."""


def damaged(rng: Random, content: bytes) -> bytes:
    """Return the bytes with up to four changes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        content = _change(rng, content)
    return content


def _change(rng: Random, content: bytes) -> bytes:
    at = rng.randint(0, min(len(content), rng.choice([12, 300, len(content)])))
    length = min(rng.choice([1, 1, 2, 4, 8, 40]), len(content) - at)
    head, middle, tail = content[:at], content[at : at + length], content[at + length :]
    match rng.randrange(10):
        case 0 if middle:
            return head + bytes([middle[0] ^ (1 << rng.randrange(8))]) + middle[1:] + tail
        case 1:
            return head + rng.randbytes(length) + tail
        case 2:
            return head + tail
        case 3:
            return head + middle + middle + tail
        case 4:
            return head
        case 5:
            return content + rng.choice(TOKENS)
        case 6:
            size = rng.choice([1, 2, 4, 8])
            number = (rng.choice(NUMBERS) + rng.choice([-1, 0, 0, 1])) % (1 << 8 * size)
            return head + number.to_bytes(size, "little") + content[at + size :]
        case 7:
            token = rng.choice(TOKENS)
            return head + token + content[at + len(token) :]
        case 8:
            other = rng.randint(0, len(content))
            return head + content[other : other + length] + tail
    return head + rng.choice(TOKENS) + middle + tail


def tampered(rng: Random, values: Any) -> Any:
    """Return parsed JSON with up to three values replaced, removed or added. The original is changed."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = paths(values)
        values = changed(
            values, rng.choice(places), deepcopy(rng.choice(ODD)), rng.choice(["replace", "replace", "remove", "add"])
        )
    return values


def damaged_json(rng: Random, text: str) -> bytes:
    """Return JSON of which values, or bytes, are damaged."""
    if rng.random() < 0.4:
        return damaged(rng, text.encode())
    return json.dumps(tampered(rng, json.loads(text))).encode()


def reasons(error: BaseException, most: int = 6000) -> None:
    """Check that an error says in few words what is wrong."""
    text = str(error)
    assert text.strip(), f"{type(error).__name__} says nothing"
    assert len(text) < most, f"{type(error).__name__} has {len(text):,} letters: {text[:300]}"
