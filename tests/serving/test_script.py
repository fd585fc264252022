"""What `scripts/triton` refuses before it starts a server, and how it says so."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.running import ROOT

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder in which the script finds a server installed."""
    (tmp_path / "home" / f"backends-{PYTHON}" / "python").mkdir(parents=True)
    return tmp_path / "home"


def refusal(home: Path, python: str | Path, repository: Path) -> str:
    known = {**os.environ, "TRITON_HOME": str(home), "PYTHON": str(python)}
    ended = subprocess.run([ROOT / "scripts" / "triton", repository], env=known, capture_output=True, text=True)
    assert ended.returncode == 1, ended
    assert not ended.stdout
    return ended.stderr


def test_a_python_that_does_not_exist_is_named(home: Path) -> None:
    told = refusal(home, "no-python-of-this-name", ROOT / "serving" / "triton")
    assert told == (
        "scripts/triton: there is no no-python-of-this-name. "
        "Set PYTHON to the Python in which zvae_tiled is installed.\n"
    )


def test_a_missing_repository_is_named(home: Path, tmp_path: Path) -> None:
    told = refusal(home, sys.executable, tmp_path / "models")
    assert told == (
        f"scripts/triton: there is no model repository {tmp_path / 'models'}. "
        "In a clone of zvae_tiled it is serving/triton.\n"
    )


def test_a_python_without_this_package_is_named(home: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    told = refusal(home, python, ROOT / "serving" / "triton")
    assert told == (
        f"scripts/triton: zvae_tiled is not installed in {python}, which runs the models. "
        "Install it there, or set PYTHON to another.\n"
    )
