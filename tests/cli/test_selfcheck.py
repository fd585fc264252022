"""`zvae selfcheck`: predicted beside measured, a file to send, an exit code. tests/peers/ compares with diffusers."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from benchmarks.store import row_from
from tests.support.leftovers import file_size_limit
from tests.support.running import run
from zvae_tiled.cli import parity, selfcheck

SAME = {"diffusers": "0.42.1", "psnr": 125.2, "largest": 1.2e-5, "same": True}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "SIDE", 64)
    monkeypatch.setattr(parity, "installed", lambda package: False)


def test_predicted_and_measured_are_printed_and_written_and_nothing_names_the_owner(place: Path) -> None:
    told = run("selfcheck", "--vae", str(place / "vae"), "--submit-file", "sent.json").stdout
    found = json.loads((place / "sent.json").read_text())
    rows = [row_from(row) for row in found["rows"]]
    assert [(row.width, row.height, row.budget is None) for row in rows] == [
        (32, 32, True),
        (64, 64, True),
        (64, 64, False),
    ]
    for row in rows:
        assert row.allocator_peak is not None
        assert row.predicted_peak is not None
        assert 0 < row.allocator_peak <= row.predicted_peak
        assert row.seconds is not None
        assert row.predicted_seconds is not None
        assert min(row.seconds, row.predicted_seconds) > 0
    assert told.splitlines()[0] == "diffusers: not compared, torch is not installed"
    assert told.count("64x64  ") == 2
    assert max(map(len, told.splitlines()[:-2])) <= 80
    assert "sent.json" in told
    last = "Nothing is wrong: no decode took more memory than predicted, and the pixels were not compared."
    assert told.splitlines()[-1] == last
    text = (place / "sent.json").read_text()
    assert "block_out_channels" in text
    for secret in (platform.node(), str(Path.home()), str(place), f'"{getpass.getuser()}"', "a.npy", "vae/"):
        assert secret not in text


def test_what_is_wrong_is_said_though_the_disk_is_full(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "checked", lambda *_: {"parity": {**SAME, "same": False}, "rows": []})
    with file_size_limit(10):
        assert "FAULT: the pixels are not those of diffusers" in run("selfcheck", code=5).stdout


@pytest.mark.parametrize(
    ("found", "rows", "code", "said"),
    [
        (SAME, [(9, 10)], 0, "diffusers 0.42.1: the same, 125 dB, largest difference 1.2e-05 standard deviations"),
        ({**SAME, "same": False}, [(9, 10)], 6, "FAULT: the pixels are not those of diffusers"),
        (SAME, [(9, 10), (11, 10)], 6, "FAULT: 64x32 took more memory than predicted"),
    ],
)
def test_what_is_not_as_promised_is_said_written_and_the_exit_code(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: dict[str, Any],
    rows: list[tuple[int, int]],
    code: int,
    said: str,
) -> None:
    decode = {"suite": "selfcheck", "width": 64, "height": 32, "predicted_seconds": 1.0, "seconds": 1.0}
    measured = [{**decode, "allocator_peak": used, "predicted_peak": most} for used, most in rows]
    monkeypatch.setattr(selfcheck, "checked", lambda *_: {"parity": found, "rows": measured})
    told = run("selfcheck", code=code).stdout
    assert said in told
    verdict = "Nothing is wrong: " if code == 0 else "1 thing is WRONG: see FAULT above."
    assert told.splitlines()[-1].startswith(verdict)
    assert json.loads((place / "zvae-selfcheck.json").read_text())["parity"] == found


def test_pictures_are_small_where_a_decode_takes_long(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "SECONDS", 0.0)
    run("selfcheck", "-q")
    sides = [row["width"] for row in json.loads((place / "zvae-selfcheck.json").read_text())["rows"]]
    assert sides == [8, 16, 16]


def test_a_file_that_cannot_be_written_is_refused_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "checked", lambda *_: pytest.fail("it was measured first"))
    assert "no/sent.json" in run("selfcheck", "--submit-file", "no/sent.json", code=5).stderr
    assert "is an input" in run("selfcheck", "--submit-file", "vae/config.json", code=2).stderr
