"""Tries cases in a process of its own, and starts another where one crashes or hangs."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.campaign.lines import lines_of
from tests.campaign.part import Part
from tests.support.running import ROOT, environment


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        number: The case.
        tried: How many things it tried.
        found: What was wrong, or None.
    """

    number: int
    tried: int = 1
    found: str | None = None


def outcomes(row: str, part: Part, seed: int, first: int) -> Iterator[Outcome]:
    """Try case after case. One in which the process ends, or hangs, has failed; another process goes on behind it."""
    number = first
    while True:
        for outcome in _by_one_process(row, part, seed, number):
            number = outcome.number + 1
            yield outcome


def _by_one_process(row: str, part: Part, seed: int, first: int) -> Iterator[Outcome]:
    with _worker(row, part, seed, first) as (worker, lines, errors):
        for number in count(first):
            try:
                line = lines.get(timeout=part.patience)
            except queue.Empty:
                line, why = "", f"it hangs: it did not end within {part.patience:.0f} seconds"
            else:
                why = "" if line else _ending(worker.wait())
            if not line:
                yield Outcome(number, found=f"{errors.read_text(errors='replace')[-4000:]}\n{why}")
                return
            yield Outcome(number, **json.loads(line))


@contextmanager
def _worker(
    row: str, part: Part, seed: int, first: int
) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[str], Path]]:
    words = [sys.executable, "-m", "tests.campaign.worker", row, part.name, str(seed), str(first)]
    with tempfile.TemporaryDirectory(prefix="zvae-campaign-", ignore_cleanup_errors=True) as name:
        errors = Path(name) / "errors"
        settings = {"ZVAE_CACHE": f"{name}/cache", "ZVAE_DEVICE": "cpu", "TMPDIR": name}
        with errors.open("w") as taken:
            worker = subprocess.Popen(
                words,
                stdout=subprocess.PIPE,
                stderr=taken,
                cwd=ROOT,
                env=environment(**settings),
                text=True,
                start_new_session=True,  # Ctrl-C is for this process, which ends the worker and its children
            )
        lines = lines_of(worker)
        try:
            yield worker, lines, errors
        finally:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            with suppress(queue.Empty):
                while lines.get(timeout=0.1):
                    pass


def _ending(code: int) -> str:
    return f"the process was ended by {signal.Signals(-code).name}" if code < 0 else f"the process exited with {code}"
