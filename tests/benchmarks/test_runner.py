"""Child processes that fail: their rows name the reason, and a later success replaces them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from benchmarks import runner, sittings, store
from benchmarks.__main__ import run_suite
from benchmarks.case import Case, Files, Sample
from benchmarks.footprint import taken_by
from benchmarks.noise import Noise
from benchmarks.quality import structured_latents
from benchmarks.runner import Group, Machine, run_group
from benchmarks.tools import ours_file
from benchmarks.weights import save_random_vae

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


def test_a_run_that_was_stopped_goes_on_with_what_it_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def child(case: Case, _: Group, picture: Path | None, *__: object) -> Sample:
        asked.append(case.label)
        if case.label == "b" and len(asked) == 2:
            raise KeyboardInterrupt
        assert picture is not None
        np.save(picture, len(asked) * np.arange(192.0).reshape(1, 8, 8, 3))
        return Sample(seconds=len(asked))

    monkeypatch.setattr(runner, "run_child", child)
    group = Group(tuple(Case("large", "ours_file", 8, 8, "float32", label=label) for label in "abc"), compare=True)
    found = run_group(group, Machine(1, keep=tmp_path))
    assert next(found).note == "the reference"
    with pytest.raises(KeyboardInterrupt):
        next(found)
    rows = list(run_group(group, Machine(1, keep=tmp_path)))
    assert asked == ["a", "b", "b", "c"]
    assert [(row.tool, row.seconds, row.note) for row in rows] == [
        ("a", 1, "the reference"),
        ("b", 3, ""),
        ("c", 4, ""),
    ]
    assert all(row.psnr is not None for row in rows[1:]), "they are compared with the picture that was kept"


def test_only_the_cases_that_are_named_are_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runner, "run_child", lambda *_: Sample(seconds=1.0))
    for only, found in (("planned", 2), ("mflux", 1), ("no such tool", 0)):
        for kept in tmp_path.glob("*.json"):
            kept.unlink()
        rows = list(run_suite("large", Machine(1, keep=tmp_path), quick=True, large=False, only=only))
        assert [only in row.tool for row in rows] == [True] * found


def test_a_case_is_not_compared_with_one_that_is_no_reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def child(case: Case, _: Group, picture: Path, *__: object) -> Sample:
        np.save(picture, np.arange(192.0).reshape(1, 8, 8, 3))
        return Sample(seconds=1.0, outcome="died" if case.label == "b" else "ok")

    monkeypatch.setattr(runner, "run_child", child)
    group = Group(tuple(Case("large", "ours", 8, 8, "float32", label=label) for label in "abc"), compare=True)
    (alone,) = run_group(group, Machine(1, keep=tmp_path), only="c:")
    assert (alone.note, alone.psnr) == ("", None), "the reference may be one of those that were left out"
    first, _, last = run_group(group, Machine(1, keep=tmp_path))
    assert (first.note, last.note, last.max_error) == ("the reference", "", 0)


def test_what_another_run_may_have_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outcomes = {"peer": "not run: torch is not installed", "resumed": "died", "refused": "out of memory"}
    monkeypatch.setattr(runner, "run_child", lambda case, *_: Sample(outcome=outcomes[case.label]))
    cases = tuple(Case("large", "ours", 8, 8, label=label, resumed=label == "resumed") for label in outcomes)
    list(run_group(Group(cases), Machine(1, keep=tmp_path)))
    monkeypatch.setattr(runner, "run_child", lambda *_: Sample(seconds=1.0))
    rows = run_group(Group(cases), Machine(1, keep=tmp_path))
    assert [row.outcome for row in rows] == ["ok", "ok", "out of memory"]


def test_maps_on_disk_are_those_of_the_plan_and_the_picture_is_none(tmp_path: Path) -> None:
    case = replace(SMALL, tool="ours_file", height=64, width=64)
    assert ours_file.measure(replace(case, budget="ample"), Files()).disk == 0
    disk = ours_file.measure(replace(case, budget="least"), Files()).disk
    assert disk is not None
    assert disk > 0


def test_a_decode_in_two_sittings_is_the_sum_of_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    case = replace(SMALL, tool="ours_file", height=64, width=64, budget="1GB", resumed=True)
    np.save(tmp_path / "latents.npy", structured_latents(8, 8, case.config.latents.channels))
    group = Group((case,), save_random_vae(case.config, tmp_path / "vae"), tmp_path / "latents.npy")
    stops, seen, look = True, list[Path](), ours_file.named

    def stop(work: Path) -> int:
        seen.append(work)
        if stops and len(seen) == 3:
            raise KeyboardInterrupt
        return look(work)

    def child(case: Case, group: Group, picture: None, machine: Machine, work: Path) -> Sample:
        return ours_file.measure(case, Files(str(group.model), str(group.latents), picture, str(work)))

    monkeypatch.setattr(sittings, "PAUSE", 0.0)
    monkeypatch.setattr(ours_file, "named", stop)
    monkeypatch.setattr(runner, "run_child", child)
    with pytest.raises(KeyboardInterrupt):
        list(run_group(group, Machine(1, keep=tmp_path / "keep")))
    (noted,) = (tmp_path / "keep").glob("*.sittings")
    (first,) = json.loads(noted.read_text())
    stops = False
    for _ in range(2):  # the second time from the sample that is kept
        (row,) = run_group(group, Machine(1, keep=tmp_path / "keep"))
        assert row.note == "in 2 sittings"
        assert row.seconds is not None
        assert row.seconds > first["seconds"] > 0
        assert row.disk is not None
        assert row.disk >= first["disk"] > 0
    (known,) = (tmp_path / "keep").glob("*.json")
    known.unlink()
    (row,) = run_group(group, Machine(1, keep=tmp_path / "keep"))
    assert row.note == "", "no sitting is left of a decode that ended"


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
