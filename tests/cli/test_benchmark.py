"""`zvae benchmark`: a file of figures, or a message. tests/test_selfbench.py tests the measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.running import run
from zvae_tiled.report import figures as selfbench


def test_the_figures_are_in_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selfbench, "self_benchmark", lambda seconds, say: {"seconds": seconds})
    found = run("benchmark", "--submit-file", str(tmp_path / "figures.json"), "--seconds", "20")
    assert "figures.json" in found.stdout
    assert json.loads((tmp_path / "figures.json").read_text()) == {"seconds": 20}


def test_a_folder_that_is_not_there_is_an_output_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(selfbench, "self_benchmark", lambda seconds, say: pytest.fail("it was measured first"))
    run("benchmark", "--submit-file", str(tmp_path / "no" / "figures.json"), code=5)
