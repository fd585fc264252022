"""Measures picture files: speed of writing, size, and the memory of Pillow's encoders.

    python -m benchmarks.pictures [SIDE]

There are two pictures: a smooth one with a little grain, similar to a decode, and noise, which is the worst case.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import mlx.core as mx
import numpy as np

from benchmarks.machine import describe
from zvae_tiled.sinks import file_target
from zvae_tiled.sinks.kinds import KINDS

ROWS = 128
"""Rows of a band."""


def band(kind: str, top: int, width: int) -> mx.array:
    rng = np.random.default_rng(top)
    if kind == "noise":
        return mx.array(rng.random((1, ROWS, width, 3), np.float32))
    rows, columns = np.arange(top, top + ROWS)[:, None, None], np.arange(width)[None, :, None]
    phase = np.arange(3)[None, None]
    waves = 0.5 + 0.2 * np.sin(rows / 37 + phase) + 0.2 * np.sin(columns / 53 + rows / 211 - phase)
    grain = rng.normal(0, 1 / 255, (ROWS, width, 3))
    return mx.array(np.clip(waves + grain, 0, 1).astype(np.float32)[None])


def written(ending: str, bits: int, kind: str, side: int, folder: Path) -> tuple[float, int]:
    """Return the seconds of writing, without those of creating bands, and the bytes of the file."""
    sink, seconds = file_target(folder / f"a{ending}", (1, side, side, 3), bits).sink({}), 0.0
    for top in range(0, side, ROWS):
        rows = band(kind, top, side)
        mx.eval(rows)
        start = time.perf_counter()
        sink.write(0, rows)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    sink.close()
    return seconds + time.perf_counter() - start, (folder / f"a{ending}").stat().st_size


def zlib_level_6(kind: str, side: int) -> tuple[float, int]:
    """Return the seconds and bytes of most PNG writers' method: the filter "up", and zlib's level 6."""
    deflate, seconds, size = zlib.compressobj(6), 0.0, 0
    for top in range(0, side, ROWS):
        levels = np.asarray(mx.round(band(kind, top, side)[0] * 255).astype(mx.uint8)).reshape(ROWS, -1)
        start = time.perf_counter()
        size += len(deflate.compress(np.diff(levels, axis=0, prepend=levels[:1]).tobytes()))
        seconds += time.perf_counter() - start
    return seconds, size + len(deflate.flush())


def high_water() -> int:
    mark = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert mark is not None
    return int(mark[1]) * 1024


def memory(ending: str, side: int, folder: Path) -> float:
    """Return the bytes per pixel by which writing makes this process grow. Call it in a new process."""
    written(ending, 8, "noise", ROWS, folder)
    mx.eval(band("noise", 0, side))  # allocate the memory for creating a band before
    before = high_water()
    written(ending, 8, "noise", side, folder)
    return (high_water() - before) / side**2


def main(side: int) -> None:
    print(describe(), "\n")
    print("| file | bits | picture | MB/s | share of the raw size | s for 16384² |")
    print("|---|---:|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        for ending in (".png", ".tiff", ".jpg", ".webp", ".npy"):
            for bits in sorted(KINDS[ending].bits):
                for kind in ("smooth", "noise"):
                    report(ending, bits, kind, side, *written(ending, bits, kind, side, Path(name)))
    for kind in ("smooth", "noise"):
        report("PNG with zlib's level 6", 8, kind, side, *zlib_level_6(kind, side))
    print("\n| file | noise, bytes a pixel |\n|---|---:|")
    for ending in (".png", ".tiff", ".jpg", ".webp"):
        command = [sys.executable, "-m", "benchmarks.pictures", "memory", ending, str(side)]
        print(f"| {ending} | {subprocess.run(command, capture_output=True, text=True).stdout.strip()} |")


def report(name: str, bits: int, kind: str, side: int, seconds: float, size: int) -> None:
    raw = side * side * 3 * bits // 8
    whole = raw * (16384 / side) ** 2
    print(f"| {name} | {bits} | {kind} | {raw / seconds / 1e6:.0f} | {size / raw:.2f} | {whole * seconds / raw:.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        with tempfile.TemporaryDirectory() as place:
            print(f"{memory(sys.argv[2], int(sys.argv[3]), Path(place)):.1f}")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048)
