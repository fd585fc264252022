"""Adds up the figures of a decode that was stopped and went on, which takes several child processes."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.footprint import Footprint
from benchmarks.noise import Noise

PAUSE = 5.0
"""Seconds between two notes, as between those of a work folder."""


@dataclass(frozen=True)
class Sitting:
    """What one process measured until it was stopped: seconds, bytes, and the share of the cores that others took."""

    seconds: float
    footprint: int
    disk: int
    others: float


class Sittings:
    """The sittings of one decode, in a file. What a process that is killed did after its last note is not counted."""

    def __init__(self, file: Path, goes_on: bool, footprint: Footprint) -> None:
        """Begin a sitting. If the decode goes on, read those before this one."""
        self._file, self._footprint, self._noise = file, footprint, Noise()
        known = goes_on and file.exists()
        self._before = [Sitting(**values) for values in json.loads(file.read_text())] if known else []
        self._disk, self._start, self._noted = 0, time.perf_counter(), time.perf_counter()

    def see(self, disk: int) -> None:
        """Remember the bytes on disk if they are the most so far. Write to the file if it is time."""
        self._disk = max(self._disk, disk)
        if time.perf_counter() - self._noted > PAUSE:
            self._noted = time.perf_counter()
            part = self._file.with_suffix(".noting")
            part.write_text(json.dumps([asdict(sitting) for sitting in self.all()]))
            os.replace(part, self._file)

    def all(self) -> list[Sitting]:
        """Return all sittings. The last one is that of this process."""
        seconds = time.perf_counter() - self._start
        return [*self._before, Sitting(seconds, self._footprint.grown(), self._disk, self._noise.share())]
