"""Measures one case in its own process, and how the process grows meanwhile: ``python -m benchmarks.timeline``.

It reads and prints what `benchmarks.child` does. The line of points is in the sample's note, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module

import psutil

from benchmarks.case import Case, Files, Sample
from benchmarks.child import answer

EVERY = 0.01
"""Seconds between two looks at the process."""

POINTS = 400
"""The most points of a line."""

Line = list[tuple[float, float]]


def main() -> None:
    request = json.loads(sys.stdin.read())
    case, files = Case.from_json(request["case"]), Files(**request["files"])
    with contextlib.suppress(ModuleNotFoundError):  # which `answer` reports
        import_module(f"benchmarks.tools.{case.tool}")  # before the start: code is not counted
    sample, line = watched(lambda: answer(case, files))
    if sample.seconds is not None:
        sample.note = json.dumps(thinned([point for point in line if point[0] >= line[-1][0] - sample.seconds]))
    print(json.dumps(asdict(sample)))


def watched(work: Callable[[], Sample]) -> tuple[Sample, Line]:
    """Return the result of `work`, and points of seconds and of bytes that this process has grown by."""
    process, start, done = psutil.Process(), time.perf_counter(), threading.Event()
    before: int = process.memory_info().rss
    line: Line = []

    def look() -> None:
        line.append((time.perf_counter() - start, float(process.memory_info().rss - before)))

    def watch() -> None:
        while not done.wait(EVERY):
            look()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        sample = work()
    finally:
        done.set()
        watcher.join()
    look()
    return sample, line


def thinned(line: Line) -> Line:
    """Return the highest point of each stretch, because a chart of memory must not lose its peaks."""
    step = -(-len(line) // POINTS)
    return [max(line[at : at + step], key=lambda point: point[1]) for at in range(0, len(line), step)]


if __name__ == "__main__":
    main()
