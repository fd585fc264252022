"""The file of counts, from which the page's table is made: what was tried, how often, when and where."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COUNTS = Path(__file__).parent / "counts.json"


@dataclass(frozen=True)
class Count:
    """One run of one part.

    Attributes:
        row: The row of the table.
        part: The part's name.
        what: What was tried.
        aim: How many must be tried before a release, or for how many minutes.
        seed: The seed of the run, which repeats it.
        tried: How many were tried.
        failed: How many of them failed.
        day: The day of the run.
        machine: The machine, in words.
        versions: The versions of the packages.
        minutes: For how many it ran, if these are the aim.
    """

    row: str
    part: str
    what: str
    aim: int
    seed: int
    tried: int
    failed: int
    day: str
    machine: str
    versions: str
    minutes: float | None = None


def read_counts() -> list[Count]:
    """Return all runs, those of a part in the order in which they were made."""
    if not COUNTS.exists():
        return []
    saved: dict[str, list[dict[str, Any]]] = json.loads(COUNTS.read_text())
    return [Count(**each) for runs in saved.values() for each in runs]


def keep(count: Count) -> None:
    """Write a run into the file. It takes the place of a run of the same part with the same seed."""
    with alone():
        _write(count)


@contextmanager
def alone() -> Iterator[None]:
    """Let no other campaign write the file, or the page, meanwhile."""
    folder = os.open(COUNTS.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(count: Count) -> None:
    runs = [each for each in read_counts() if (each.row, each.part, each.seed) != (count.row, count.part, count.seed)]
    saved: dict[str, list[dict[str, Any]]] = {}
    for each in sorted([*runs, count], key=lambda each: (each.row, each.part)):
        saved.setdefault(f"{each.row}/{each.part}", []).append(asdict(each))
    fresh = COUNTS.with_suffix(".new")
    fresh.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n")
    fresh.replace(COUNTS)
