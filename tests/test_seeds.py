"""The default run draws the same cases every time. A slow run draws fresh cases, and repeats them from its seed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = """
import os
import pytest
from hypothesis import given, strategies as st

def draw(case):
    with open(os.environ["DRAWN"], "a") as file:
        print(case, file=file)

@given(st.integers())
def test_a_property(number):
    draw(number)

@pytest.mark.slow
def test_random_cases(seeds):
    draw(seeds(3))
"""


class Run:
    """Runs of pytest over a property and over random cases."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "test_drawing.py").write_text(TESTS)

    def __call__(self, *options: str) -> tuple[str, str]:
        """Return the cases drawn, and the output of the run."""
        drawn = self.folder / "drawn"
        drawn.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-c", f"{ROOT}/pyproject.toml", "-p", "tests.conftest"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DRAWN": str(drawn)}
        done = subprocess.run(
            [*command, *options, "test_drawing.py"], cwd=self.folder, env=environment, capture_output=True
        )
        assert done.returncode == 0, done.stdout
        return drawn.read_text(), done.stdout.decode()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.mark.slow
def test_the_default_run_draws_the_same_cases_every_time(run: Run) -> None:
    first, said = run()
    assert len(first.splitlines()) >= 10, "every example of the property"
    assert "seed" not in said
    assert run()[0] == first


@pytest.mark.slow
def test_a_slow_run_draws_fresh_cases_and_the_same_ones_from_its_seed(run: Run) -> None:
    first, said = run("-m", "slow")
    assert len(first.splitlines()) > 900, "the property, ten times as often, and the slow test"
    seeds = re.findall(r"--hypothesis-seed=\d+", said)
    assert len(seeds) == 2
    assert run("-m", "slow", seeds[0])[0] == first
    assert run("-m", "slow")[0] != first
