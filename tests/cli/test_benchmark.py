"""`zvae benchmark`: a file of figures, or a message. tests/test_selfbench.py tests the measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.leftovers import file_size_limit
from tests.support.running import run
from zvae_tiled.report import figures as selfbench

SIZE = {"suite": "self", "tool": "zvae_tiled", "dtype": "bfloat16", "width": 1024, "height": 512}
ROWS = [
    {"suite": "limit", "tool": "matrix product of 2048", "dtype": "float32", "flops": 2e11, "seconds": 2.0},
    {**SIZE, "predicted_peak": 428e6, "allocator_peak": 401e6, "predicted_seconds": 37.0, "seconds": 41.0},
    {
        **SIZE,
        "budget": 120e6,
        "predicted_peak": 119e6,
        "allocator_peak": 100e6,
        "predicted_seconds": 110.0,
        "seconds": 126.0,
    },
]


def test_the_figures_are_printed_and_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selfbench, "self_benchmark", lambda seconds, say: {"seconds": seconds, "rows": ROWS})
    found = run("benchmark", "--submit-file", str(tmp_path / "figures.json"), "--seconds", "20")
    assert "figures.json" in found.stdout
    assert json.loads((tmp_path / "figures.json").read_text()) == {"seconds": 20, "rows": ROWS}
    assert found.stdout.splitlines()[:-1] == [
        "matrix product of 2048 in float32: 100 GFLOP/s",
        "picture         budget  memory predicted  measured  time predicted  measured",
        "1024x512         ample            428 MB    401 MB            37 s      41 s",
        "1024x512        120 MB            119 MB    100 MB         1.8 min   2.1 min",
    ]


def test_the_figures_are_printed_though_the_disk_is_full_and_written_though_nobody_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(selfbench, "self_benchmark", lambda seconds, say: {"rows": ROWS})
    with file_size_limit(10):
        found = run("benchmark", "--submit-file", tmp_path / "a.json", code=5)
    assert "matrix product of 2048 in float32: 100 GFLOP/s" in found.stdout
    assert "The figures are in" not in found.stdout
    monkeypatch.setattr("zvae_tiled.report.rows.lines_of", broken)
    run("benchmark", "--submit-file", tmp_path / "b.json", code=141)
    assert json.loads((tmp_path / "b.json").read_text()) == {"rows": ROWS}


def broken(rows: object) -> list[str]:
    raise BrokenPipeError


def test_a_folder_that_is_not_there_is_an_output_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selfbench, "self_benchmark", lambda seconds, say: pytest.fail("it was measured first"))
    run("benchmark", "--submit-file", str(tmp_path / "no" / "figures.json"), code=5)
