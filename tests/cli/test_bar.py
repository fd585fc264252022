"""The progress line: what it says at any width, that it fits, and when it is shown."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.running import COMMAND, environment, run
from zvae_tiled import Progress
from zvae_tiled.cli.bar import line_of
from zvae_tiled.report.progress import print_line
from zvae_tiled.wording import clock, moment

HALF = Progress(0.5, 3, 30, 61.0, rows=512, height=1024, budget=8_000_000_000, memory=1_234_000_000, peak=2_345_000_000)
NAME = "z-image-turbo-00042-of-a-long-batch.safetensors"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(words: list[str], columns: int) -> list[str]:
    """What a command shows on a pseudo-terminal, frame by frame, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {name: value for name, value in environment(TERM="xterm", LANG="C.UTF-8").items() if name != "COLUMNS"}
    child = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=plain)
    os.close(theirs)
    told = b""
    try:
        while piece := os.read(ours, 1 << 16):
            told += piece
    except OSError:  # Linux' way to say that the other end is closed
        pass
    os.close(ours)
    assert child.wait() == 0, told.decode()
    return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", told.decode())) if line.strip()]


@pytest.mark.parametrize("columns", [60, *(pytest.param(each, marks=pytest.mark.slow) for each in (80, 110))])
def test_on_a_terminal_the_line_fits_and_keeps_name_bar_per_cent_time_and_memory(columns: int) -> None:
    code = (
        "from zvae_tiled import Progress; from zvae_tiled.cli.bar import bar\n"
        f"with bar({NAME!r}, False) as listener:\n"
        f"    listener({HALF!r}); listener({replace(HALF, done=1.0)!r})"
    )
    frames = on_a_terminal([sys.executable, "-c", code], columns)
    assert max(map(len, frames)) < columns
    last = frames[-1]
    assert re.match(r"z-image[^ ]*… ━+ +100%  0:00:00 to go  1\.23 of 8\.00 GB", last), last
    assert ("sweep 3/30" in last) == (columns == 110)


@pytest.mark.slow
def test_a_decode_shows_it_in_80_columns(place: Path) -> None:
    frames = on_a_terminal([*COMMAND, "decode", "a.npy", "-o", "a.png", "--budget", "500MB"], 80)
    lines = [frame for frame in frames if "to go" in frame]
    assert re.match(r"a\.npy ━{24} 100%  0:00:00 to go  \d+ of 500 MB$", lines[-1]), lines
    assert max(map(len, lines)) < 80


@given(
    st.text(min_size=1, max_size=60),
    st.integers(30, 300),
    st.floats(0, 1),
    st.floats(0, 1e7),
    st.integers(10**6, 1 << 62),
    st.booleans(),
)
def test_it_fits_any_terminal(name: str, width: int, done: float, seconds: float, budget: int, plain: bool) -> None:
    progress = Progress(done, 30, 30, seconds, budget=budget, memory=budget // 3, peak=budget)
    for each in (None, progress):
        line = line_of(name, each, width, plain)
        assert line.cell_len < width
        assert "%" in line.plain
        assert line.plain.isprintable()


def test_what_does_not_fit_is_left_out_and_the_name_is_no_markup() -> None:
    assert line_of("[red]a", HALF, 200).plain == (
        f"[red]a {'━' * 12}{'╺' * 12}  50%  0:01:01 to go  1.23 of 8.00 GB  peak 2.35 GB  sweep 3/30"
    )
    assert line_of("a", HALF, 40, True).plain == "a ########.........  50%  0:01:01 to go"
    assert line_of("a", replace(HALF, done=0.0), 80).plain.endswith(" 0%  -:--:-- to go  1.23 of 8.00 GB")
    assert clock(115_791) == "32:09:51"


def test_workers_whose_memory_is_theirs_show_none() -> None:
    line = line_of("ten pictures", Progress(0.5, 0, 0, 6000.0), 100).plain
    assert "to go" in line
    assert "until" in line
    assert " of " not in line.replace("ten pictures", "")
    assert "peak" not in line


def test_memory_is_in_one_unit() -> None:
    for budget, said in (
        (900_000_000, "50 of 900 MB"),
        (50_000_000_000, "0.1 of 50.0 GB"),
        (2 * 10**12, "0.00 of 2.00 TB"),
    ):
        assert said in line_of("a", replace(HALF, budget=budget, memory=50_000_000, peak=60_000_000), 90).plain


def test_long_work_says_at_what_time_it_ends() -> None:
    soon = replace(HALF, seconds=599.0)
    late = replace(HALF, seconds=86_400.0 * 40)
    assert "until" not in line_of("a", soon, 200).plain
    for columns in (80, 200):
        hour = line_of("z-image-turbo-00042", replace(HALF, seconds=3600.0), columns).plain
        assert re.search(r"1:00:00 to go  1\.23 of 8\.00 GB  until (\w{3} )?\d\d:\d\d", hour), hour
    assert re.search(r"until \d{1,2} \w{3} \d\d:\d\d", line_of("a", late, 200).plain)
    assert "until" not in line_of("a", replace(HALF, seconds=1e9), 200).plain


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (datetime(2026, 11, 26, 23, 59), "23:59"),
        (datetime(2026, 11, 27, 0, 1), "Fri 00:01"),
        (datetime(2026, 12, 2, 17, 5), "Wed 17:05"),
        (datetime(2026, 12, 3, 17, 5), "3 Dec 17:05"),
    ],
)
def test_a_moment_names_no_more_than_it_must(then: datetime, said: str) -> None:
    assert moment(then, datetime(2026, 11, 26, 9, 30)) == said


@pytest.fixture
def autumn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Half past one, in the night in which the clocks of Berlin are put back from three to two."""

    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Then:
            return cls(2026, 10, 25, 1, 30)

    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        patch.setattr("zvae_tiled.wording.datetime", Then)
        yield
    time.tzset()


@pytest.mark.usefixtures("autumn")
def test_the_time_of_the_end_is_that_of_the_clock_then() -> None:
    line = line_of("a", replace(HALF, seconds=3 * 3600.0), 200).plain
    assert "3:00:00 to go" in line
    assert "until 03:30" in line


@pytest.mark.usefixtures("autumn")
def test_the_line_of_the_library_says_at_what_time_long_work_ends(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds in (3 * 3600.0, 61.0):
        print_line(replace(HALF, seconds=seconds))
    _, long, short = capsys.readouterr().err.split("\r")
    assert long.rstrip().endswith("10800.0 s to go, until 03:30")
    assert short.rstrip().endswith("61.0 s to go")
    assert len(short) >= len(long.rstrip()), "the shorter line leaves nothing of the longer one"


@pytest.mark.parametrize("quiet", [False, True])
def test_it_is_shown_on_a_terminal_only_and_not_when_asked_to_be_quiet(
    place: Path, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    words = ("decode", "a.npy", "-o", "a.png", *(["-q"] if quiet else []))
    assert "to go" not in run(*words).stderr
    monkeypatch.setenv("FORCE_COLOR", "1")  # with it, rich takes any stream for a terminal
    monkeypatch.setenv("COLUMNS", "200")
    told = run(*words)
    assert ("sweep" in told.stderr) is not quiet
    assert ("0:00:00 to go" in told.stderr) is not quiet
    assert told.stdout == ""
