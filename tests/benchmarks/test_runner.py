"""Child processes that fail: their rows name the reason, and a later success replaces them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from benchmarks import runner, store
from benchmarks.case import Case, Sample
from benchmarks.footprint import taken_by
from benchmarks.noise import Noise
from benchmarks.runner import Group, Machine, run_group

SMALL = Case("speed", "ours", 16, 16, "float32", widths=(8, 8, 8, 8), kernels="mlx")
LARGE = Case("speed", "full", 512, 512)
"""Its weights have 100 MB, and its decode takes minutes."""


@pytest.mark.slow
def test_more_memory_than_there_may_be_is_an_outcome() -> None:
    (found,) = run_group(Group((LARGE,)), Machine(limit=150 << 20))
    assert re.fullmatch(r"more than 0\.2 GB, after \d+ s", found.outcome)
    assert found.seconds is None
    assert found.environment["limit"] == 150 << 20


@pytest.mark.slow
def test_a_child_that_takes_too_long_is_ended_and_its_memory_told(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = [0]

    def looked(child: int) -> int:
        taken.append(taken_by(child))
        return taken[-1]

    # The time limit is reached once the child holds 50 MB, however slow the machine is.
    clock = SimpleNamespace(monotonic=lambda: 4.0 if max(taken) > 50_000_000 else 0.0)
    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setattr(runner, "taken_by", looked)
    (found,) = run_group(Group((LARGE,)), Machine(limit=8 << 30, timeout=3))
    told = re.fullmatch(r"longer than 3 s, with up to (\d\.\d) GB", found.outcome)
    assert told is not None
    assert float(told[1]) > 0


@pytest.mark.slow
def test_a_success_replaces_a_failure_and_the_other_way_round(tmp_path: Path) -> None:
    for timeout, outcome in ((0.0, "longer"), (600.0, "ok"), (0.0, "longer")):
        store.write("speed", run_group(Group((SMALL,)), Machine(limit=8 << 30, timeout=timeout)), tmp_path)
        (row,) = store.read("speed", tmp_path)
        assert row.outcome.startswith(outcome)
        assert row.environment["kernels"] == "mlx"


def test_rows_come_as_soon_as_they_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def child(case: Case, *_: object) -> Sample:
        asked.append(case.label)
        return Sample(outcome="died") if (case.label, len(asked)) == ("b", 5) else Sample(seconds=len(asked))

    monkeypatch.setattr(runner, "run_child", child)
    cases = tuple(Case("speed", "ours", 8, 8, label=label, rounds=n) for label, n in (("a", 3), ("b", 3), ("c", 1)))
    told = [(row.tool, row.outcome, row.rounds, len(asked)) for row in run_group(Group(cases), Machine(1))]
    assert told == [("c", "ok", (3,), 3), ("b", "died", (), 5), ("a", "ok", (1, 4, 6), 6)]


def test_other_work_is_noticed() -> None:
    noise, start = Noise(), time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        while psutil.Process(other.pid).cpu_times().user < 0.5:
            time.sleep(0.01)
        share = noise.share()
        other.kill()
    seconds = share * (time.monotonic() - start) * (psutil.cpu_count() or 1)
    assert seconds > 0.4, "the other process took 0.5"
    assert share <= 1
