"""The harness that judges ARM's kernels, run here: every path of this machine is right, and a bad write is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels.native import PATHS
from zvae_tiled.devices.native_cpu.library import library_file

COMPILER = shutil.which(os.environ.get("CXX", "c++"))
LINUX = sys.platform == "linux"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PATHS and COMPILER and LINUX), reason="needs the native kernels, a C++ compiler and Linux"),
]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The harness and the library that it judges."""
    program, source = tmp_path_factory.mktemp("harness") / "harness", Path(__file__).with_name("harness.cpp")
    subprocess.run([str(COMPILER), "-std=c++17", "-O2", source, "-o", program, "-ldl"], check=True)
    return [str(program), str(library_file())]


@pytest.fixture(scope="module")
def cases(harness: list[str]) -> str:
    """Random cases of every path."""
    paths = subprocess.run(harness, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in paths.splitlines()} == set(PATHS)
    command = [sys.executable, "-m", "tests.native.cases", "200", "0"]
    return subprocess.run(command, input=paths, capture_output=True, text=True, check=True).stdout


def judged(harness: list[str], cases: str, file: Path) -> subprocess.CompletedProcess[str]:
    file.write_text(cases)
    return subprocess.run([*harness, str(file)], capture_output=True, text=True)


def test_every_path_is_right(harness: list[str], cases: str, tmp_path: Path) -> None:
    done = judged(harness, cases, tmp_path / "cases")
    assert (done.returncode, done.stdout) == (0, f"{200 * len(PATHS)} cases, 0 wrong\n")


def test_a_write_beyond_a_promised_size_is_found(harness: list[str], cases: str, tmp_path: Path) -> None:
    """`scripts/arm` plants faults in the library too."""
    less = re.sub(r"\bpacked=(\d+)", lambda size: f"packed={int(size[1]) - 4}", cases, count=1)
    done = judged(harness, less, tmp_path / "cases")
    assert done.returncode == 1
    assert "WRONG: memory beside packed weights was written: conv " in done.stdout
    assert done.stdout.endswith(" cases, 1 wrong\n")
