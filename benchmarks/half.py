"""Measures what half of the memory costs: decodes that keep everything, and decodes in half of that, in turn.

    python -m benchmarks.half [PIXELS] [ROUNDS]

Each decode of PIXELS × PIXELS (default: 512) runs in a process of its own, ROUNDS times (default: 3). The
first lines say how fast this machine writes a file to pages of memory that are new, and to the same pages again.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import Case
from benchmarks.machine import describe
from benchmarks.runner import Machine, run_group
from benchmarks.suites.peers import race
from benchmarks.tables import table
from zvae_tiled.files.temporary import temporary_folder
from zvae_tiled.report.figures import Row
from zvae_tiled.wording import size

WRITTEN = 256 << 20
"""Bytes of the file."""


def main(pixels: int = 512, rounds: int = 3) -> None:
    """Print the speeds and the table."""
    print(describe())
    for pages, speed in zip(("new pages", "the same pages again"), speeds(temporary_folder()), strict=True):
        print(f"a file is written to {pages} at {size(speed)}/s")
    with tempfile.TemporaryDirectory() as folder:
        cases = [
            Case("half", "ours", pixels, pixels, dtype, budget=budget, rounds=rounds)
            for dtype in ("float32", "bfloat16")
            for budget in ("ample", "half")
        ]
        rows = list(run_group(race(tuple(cases), Path(folder), compare=False), Machine(limit=1 << 40)))
    print(table(["type", "all kept, s", "half, s", "time", "process, all kept", "process, half"], _lines(rows)))


def _lines(rows: list[Row]) -> Iterator[list[str]]:
    """Yield a line for each type."""
    for pair in zip(rows[::2], rows[1::2], strict=True):
        kept, half = (row.seconds or 0.0 for row in pair)
        sizes = [size(row.footprint or 0) for row in pair]
        yield [pair[0].dtype, f"{kept:.1f}", f"{half:.1f}", f"{half / kept:.2f}×", *sizes]


def speeds(folder: Path) -> tuple[int, int]:
    """Return the bytes a second that a file takes in new pages, and in pages that it has already."""
    data = memoryview(bytearray(WRITTEN))
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        found = []
        for _ in range(2):
            start = time.perf_counter()
            for offset in range(0, WRITTEN, 16 << 20):
                os.pwrite(file.fileno(), data[offset : offset + (16 << 20)], offset)
            found.append(int(WRITTEN / (time.perf_counter() - start)))
    return found[0], found[1]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
