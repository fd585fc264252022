"""What an installation builds: one wheel for every Python of a platform, and nothing that an earlier build left."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.running import ROOT
from zvae_tiled.devices.native_cpu import library

COMPILER = """#!/bin/sh
while [ $# -gt 0 ]; do
    [ "$1" = -o ] && : > "$2"
    shift
done
"""
"""It writes empty files. What the true one writes is judged by other tests."""

NONE = "/bin/false"
STALE = "_native.cpython-311-x86_64-linux-gnu.so"
"""As version 0.1.0 named its library."""

HERE = f"_native.{sys.platform}-{platform.machine()}.so"
SYSTEM = "linux" if sys.platform == "linux" else "macosx"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what an installation reads, without a library, and with a compiler."""
    tree = tmp_path / "tree"
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("native", "zvae_tiled"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in ("setup.py", "zvae.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree)
    (tree / "compiler").write_text(COMPILER)
    (tree / "compiler").chmod(0o755)
    return tree


def build(tree: Path, what: str, compiler: str | Path) -> Path:
    """Build as pip does, and return the file."""
    pytest.importorskip("setuptools.command.bdist_wheel")  # setuptools of 2024; the extra `test` brings it
    code = f"import setuptools.build_meta as it; print(it.build_{what}('dist'))"
    environment = {**os.environ, "CC": str(compiler), "CXX": str(compiler)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tree / "dist" / done.stdout.splitlines()[-1]


def libraries(names: list[str]) -> list[str]:
    return [Path(name).name for name in names if name.endswith(".so")]


def in_wheel(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as file:
        return libraries(file.namelist())


def in_tree(tree: Path) -> list[str]:
    return libraries(os.listdir(tree / "zvae_tiled" / "devices" / "native_cpu"))


@pytest.mark.slow
def test_what_was_removed_is_not_packed_and_a_part_of_the_tests_neither(tree: Path) -> None:
    """The table of families imports every file that is there."""
    shutil.copytree(ROOT / "tests" / "work", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    gone = tree / "zvae_tiled" / "families" / "gone.py"
    gone.touch()
    wheel = build(tree, "wheel", NONE)
    assert any(name.endswith("/gone.py") for name in zipfile.ZipFile(wheel).namelist())
    gone.unlink()
    wheel = build(tree, "wheel", NONE)
    assert not any(name.endswith("/gone.py") for name in zipfile.ZipFile(wheel).namelist())
    with tarfile.open(build(tree, "sdist", NONE)) as sdist:
        assert [name for name in sdist.getnames() if "/tests" in name] == []


@pytest.mark.slow
def test_a_wheel_is_for_every_python_of_its_platform_and_one_without_a_library_for_every_platform(tree: Path) -> None:
    wheel = build(tree, "wheel", tree / "compiler")
    assert f"-py3-none-{SYSTEM}_" in wheel.name
    assert in_wheel(wheel) == [HERE]
    wheel = build(tree, "wheel", NONE)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert in_wheel(wheel) == []


@pytest.mark.slow
def test_an_editable_installation_replaces_the_library_or_removes_it(tree: Path) -> None:
    (tree / "zvae_tiled" / "devices" / "native_cpu" / STALE).touch()
    build(tree, "editable", tree / "compiler")
    assert in_tree(tree) == [HERE]
    build(tree, "editable", NONE)
    assert in_tree(tree) == []


def test_libraries_of_other_builds_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    for name in (STALE, "_native.so", f"_native.{sys.platform}-other.so", f"_native.other-{platform.machine()}.so"):
        (tmp_path / name).touch()
    assert library.library_file() is None
    (tmp_path / HERE).touch()
    assert library.library_file() == tmp_path / HERE
