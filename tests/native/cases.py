"""Writes random cases for the harness (harness.cpp), with every size as the planner's Workspace gives it.

The harness prints the paths and their constants. ``python -m tests.native.cases COUNT SEED`` reads them from standard
input, and writes COUNT cases for each path to standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.native.conv_cases import BFLOAT, CHANNELS, FLOAT16, FLOAT32, MANY, MOST, WIDTHS, Row, conv
from zvae_tiled.devices.native_cpu.choice import BFLOAT16
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace

KEYS = (1, 15, 33, 63, 65, 257, 300)


def attend(path: str, workspace: NativeWorkspace, rng: Random) -> Iterator[Row]:
    """Queries that ask some blocks of keys."""
    while True:
        queries, channels = rng.choice((1, 5, 14, 63, 64, 65, 130)), rng.choice((*CHANNELS, *MANY))
        blocks = [rng.choice(KEYS) for _ in range(rng.randint(1, 3))]
        if 2 * queries * channels * sum(blocks) <= MOST:
            break
    parts, scratch = workspace.asking(queries, channels)
    yield (
        f"attend {path}",
        {
            "seed": rng.getrandbits(32),
            "type": BFLOAT if path in BFLOAT16 else rng.choice((FLOAT32, BFLOAT, FLOAT16)),
            "queries": queries,
            "channels": channels,
            "digits": 8 if workspace.number == 2 else 20,
            "nan": rng.random() < 0.1,
        },
    )
    for keys in blocks:
        yield (
            "call -",
            {
                "keys": keys,
                "packed": workspace.packed_keys(keys, channels),
                "parts": parts,
                "scratch": scratch,
                "scratches": min(workspace.threads, parts),
                "threads": workspace.threads,
            },
        )


def moments(path: str, workspace: NativeWorkspace, rng: Random) -> Iterator[Row]:
    """The moments of some rows."""
    yield (
        f"moments {path}",
        {
            "seed": rng.getrandbits(32),
            "type": rng.choice((FLOAT32, BFLOAT, FLOAT16)),
            "rows": rng.randint(1, 5),
            "width": rng.choice(WIDTHS),
            "channels": rng.choice((*CHANNELS, *MANY)),
            "mean": rng.choice((0, 100)),
            "threads": workspace.threads,
        },
    )


def cases(path: str, constants: dict[str, Any], count: int, rng: Random) -> Iterator[Row]:
    """Random cases of a path: of ten, seven convolutions, two attentions and the moments."""
    for number in range(count):
        workspace = NativeWorkspace(rng.randint(1, 3), **constants)
        kind = attend if number % 10 in (3, 7) else moments if number % 10 == 9 else conv
        yield from kind(path, workspace, rng)


def main(count: int, seed: int) -> None:
    """Read paths and write cases."""
    for line in sys.stdin:
        _, path, *words = line.split()
        constants: dict[str, Any] = {name: int(number) for name, number in (word.split("=") for word in words)}
        for head, numbers in cases(path, constants, count, Random(seed)):
            print(head, *(f"{name}={int(number)}" for name, number in numbers.items()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
