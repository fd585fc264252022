"""The campaign finds cases that fail, crash, exit and hang; it counts what it tried; the page says what it counted."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from docs import reliability_table
from docs.budget_table import END
from tests.campaign import __main__ as command
from tests.campaign import counts
from tests.campaign.lines import lines_of
from tests.campaign.part import all_rows, parts_of
from tests.campaign.trial import Outcome, outcomes
from zvae_tiled import __version__

PLANTED = "tests.campaign.planted"


def tried(name: str, count: int = 4) -> list[Outcome]:
    (part,) = (part for part in parts_of(PLANTED) if part.name == name)
    return list(islice(outcomes(PLANTED, part, 7, 0), count))


def test_cases_that_pass_are_counted_and_cases_that_fail_are_found() -> None:
    assert tried("sound") == [Outcome(number, 2) for number in range(4)]
    failing = tried("fails")
    assert [bool(each.found) for each in failing] == [False, True, False, True]
    assert failing == tried("fails"), "the same seed draws the same numbers"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("crashes", "ended by SIGSEGV"),
        ("exits", "exited with 3"),
        ("hangs", "it hangs"),
    ],
)
def test_a_case_that_ends_its_process_or_hangs_is_found_and_the_next_one_is_tried(name: str, told: str) -> None:
    found = tried(name)
    assert [each.number for each in found] == [0, 1, 2, 3]
    assert [told in (each.found or "") for each in found] == [False, True, False, False]


@pytest.mark.parametrize(("leads", "rest"), [(True, 60), (False, 1.0)])
def test_a_process_that_ends_is_not_taken_to_hang_because_a_fork_holds_its_pipe(leads: bool, rest: float) -> None:
    words = ["sh", "-c", "echo one; sleep 60 & echo $!; exit 3"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=leads)
    lines = lines_of(process, rest)
    one, fork = lines.get(timeout=10), int(lines.get(timeout=10))
    try:
        assert (one, lines.get(timeout=10), process.wait()) == ("one\n", "", 3)
    finally:
        with suppress(ProcessLookupError):
            os.kill(fork, signal.SIGKILL)


def test_the_command_counts_and_prints_what_repeats_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{reliability_table.BEGIN}{END}after\n")
    monkeypatch.setattr(reliability_table, "PAGE", page)
    monkeypatch.setattr(counts, "COUNTS", tmp_path / "counts.json")
    monkeypatch.setattr(command, "all_rows", lambda: [PLANTED])
    assert command.main([f"{PLANTED}/fails", "--seed", "7", "--count", "4"]) == 1
    assert f"{PLANTED}/fails --seed 7 --case 3" in capsys.readouterr().out
    (count,) = counts.read_counts()
    assert (count.tried, count.failed, count.seed) == (4, 2, 7)
    assert "| 4 | 2 | 7 |" in page.read_text()
    assert page.read_text().startswith("before\n")
    assert command.main([f"{PLANTED}/fails", "--seed", "8", "--count", "1", "--first", "3"]) == 1
    assert f"{PLANTED}/fails --seed 8 --case 3" in capsys.readouterr().out, "it begins where an earlier run ended"
    assert page.read_text().endswith("after\n")


def test_an_aim_in_minutes_is_a_limit_of_time_and_is_told_as_such() -> None:
    (part,) = (part for part in parts_of("load") if part.name == "decodes")
    given = command._parser().parse_args
    assert command._until(part, given([]), 45) == (math.inf, 30)
    assert command._until(part, given([]), 20) == (math.inf, 20)
    assert command._until(part, given(["--count", "9"]), 45) == (9, 45)
    assert command._until(part, given(["--sample"]), 45) == (part.sample, 45)
    assert command._until(part, given(["--case", "0"]), 45) == (1, 45)
    assert command._until(replace(part, timed=False), given([]), 45) == (30, 45)
    old, first, last = (command._count("load", part, 7, 2_448, 0, minutes) for minutes in (9, 20.4, 10.8))
    row = reliability_table._row([replace(old, minutes=None), first, last])
    assert row[2:] == ["30 min", "31 min, 7,344", "0", "11 min, 2,448", "0", "7", last.day, __version__]


def test_the_page_says_what_was_counted() -> None:
    page, table = reliability_table.PAGE.read_text(), reliability_table.table()
    assert page.count(reliability_table.BEGIN + table + END) == 1, "run python -m docs.reliability_table"


def test_every_row_is_described_on_the_page() -> None:
    headings = [line for line in reliability_table.PAGE.read_text().splitlines() if line.startswith("### ")]
    assert [f"### {row}" for row in all_rows()] == sorted(heading.partition(":")[0] for heading in headings)


def test_counts_are_of_parts_that_exist() -> None:
    parts = {f"{row}/{part.name}" for row in all_rows() for part in parts_of(row)}
    assert set(json.loads(counts.COUNTS.read_text())) <= parts
