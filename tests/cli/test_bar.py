"""The progress bar: the text beside it, and when it is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.running import run
from zvae_tiled import Progress
from zvae_tiled.cli.bar import details

HALF = Progress(0.5, 3, 30, 61.0, rows=512, height=1024, budget=8_000_000_000, memory=1_234_000_000, peak=2_345_000_000)


def test_rows_time_and_memory_stand_beside_the_bar() -> None:
    assert details(HALF) == "rows 512/1024 of sweep 3/30, 0:01:01 to go, 1.23 GB now, 2.35 peak, 8.00 budget"


def test_what_is_not_known_is_left_out() -> None:
    assert details(replace(HALF, done=0.0, memory=None)) == "rows 512/1024 of sweep 3/30"


@pytest.mark.parametrize("quiet", [False, True])
def test_it_is_shown_on_a_terminal_only_and_not_when_asked_to_be_quiet(
    place: Path, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    words = ("decode", "a.npy", "-o", "a.png", *(["-q"] if quiet else []))
    assert "of sweep" not in run(*words).stderr
    monkeypatch.setenv("FORCE_COLOR", "1")  # with it, rich takes any stream for a terminal
    monkeypatch.setenv("COLUMNS", "200")
    told = run(*words)
    assert ("rows 12/12 of sweep" in told.stderr) is not quiet
    assert ("0:00:00 to go" in told.stderr) is not quiet
    assert told.stdout == ""
