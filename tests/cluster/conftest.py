"""A folder for orders, which is the working directory of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.places import fill


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    return tmp_path
