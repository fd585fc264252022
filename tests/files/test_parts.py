"""Nothing that stays: what a killed process was writing is gone, or is removed by the next one that writes there."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.files.publishing import contents, finished
from tests.support.running import ROOT
from zvae_tiled.files import parts
from zvae_tiled.files.atomic import atomic_file, publish
from zvae_tiled.files.new_file import NewFile

WRITER = """
import os, sys
from pathlib import Path
from zvae_tiled.files import parts
from zvae_tiled.files.new_file import NewFile
if sys.argv[1] == "named":
    parts._unnamed = lambda *_: None
files = [NewFile(Path(name)) for name in "abc"]
for file in files:
    file.file.write(b"new")
    file.finish()
print("ready", flush=True)
sys.stdin.read()
"""


def named(patch: pytest.MonkeyPatch) -> None:
    """A system without files without names, such as macOS."""
    patch.setattr(parts, "_unnamed", lambda *_: None)


@pytest.fixture
def writer(tmp_path: Path) -> Any:
    """Start a process that has written three files, none of which has its name yet."""
    children = []

    def start(kind: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, kind],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="only Linux has files without names")
def test_what_is_written_has_no_name_and_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    for name, overwrite in (("a", True), ("b", False)):
        file = NewFile(tmp_path / name)
        inode = os.fstat(file.file.fileno()).st_ino
        file.file.write(b"new")
        file.finish()
        assert not list(tmp_path.glob(".zvae-*"))
        publish([file], overwrite)
        assert (tmp_path / name).stat().st_ino == inode
    assert contents(tmp_path) == {"a": "new", "b": "new"}


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_what_a_killed_process_wrote_is_gone_or_removed_by_the_next(
    writer: Callable[[str], Any], number: signal.Signals, tmp_path: Path
) -> None:
    if hasattr(os, "O_TMPFILE"):
        child = writer("unnamed")
        child.send_signal(number)
        child.wait()
        assert not os.listdir(tmp_path)
    child, other = writer("named"), writer("named")
    assert len(os.listdir(tmp_path)) == 6
    child.send_signal(number)
    child.wait()
    parts.sweep(tmp_path)
    assert len(os.listdir(tmp_path)) == 3, "those of the process that lives"
    other.kill()
    other.wait()
    parts.sweep_once.cache_clear()
    with atomic_file(tmp_path / "d") as file:
        file.write(b"new")
    assert contents(tmp_path) == {"d": "new"}


def test_only_parts_of_this_host_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = parts.part_name(tmp_path / "a")
    monkeypatch.setattr(parts, "_host", lambda: "0123abcd")
    others = parts.part_name(tmp_path / "a")
    monkeypatch.undo()
    kept = [others, tmp_path / ".zvae-0000.part", tmp_path / f"{mine.name}.png", tmp_path / "a.part"]
    for path in (mine, *kept):
        path.touch()
    (tmp_path / "elsewhere").touch()
    link = parts.part_name(tmp_path / "a")
    link.symlink_to("elsewhere")
    folder = parts.part_name(tmp_path / "a")
    folder.mkdir()
    pipe = parts.part_name(tmp_path / "a")
    os.mkfifo(pipe)
    parts.sweep(tmp_path)
    expected = {*kept, link, pipe, tmp_path / "elsewhere"}
    assert set(tmp_path.iterdir()) == expected
    parts.sweep(tmp_path / "nowhere")


def test_a_part_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, sweeps = parts.lock_if_possible, iter([True, True])

    def late(handle: int) -> bool:
        if next(sweeps, False):
            parts.sweep(tmp_path)
        return lock(handle)

    named(monkeypatch)
    monkeypatch.setattr(parts, "lock_if_possible", late)
    with atomic_file(tmp_path / "a") as file:
        file.write(b"new")
    assert contents(tmp_path) == {"a": "new"}


def test_without_locks_nothing_is_swept_and_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    named(monkeypatch)
    monkeypatch.setattr(fcntl, "flock", none)
    left = finished(tmp_path / "a")
    parts.sweep(tmp_path)
    publish([left], overwrite=True)
    assert contents(tmp_path) == {"a": "new"}


@pytest.mark.parametrize("kind", ["unnamed", "named"])
def test_a_batch_of_more_pictures_than_files_may_be_open(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "named":
        named(monkeypatch)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probe + 10, hard))
    try:
        files = [finished(tmp_path / f"{i}") for i in range(30)]
        publish(files, overwrite=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert contents(tmp_path) == {f"{i}": "new" for i in range(30)}


def test_a_file_that_may_not_be_linked_is_copied_with_its_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o666)
    monkeypatch.setattr(os, "link", refused)
    for name in "ab":
        with atomic_file(tmp_path / name, overwrite=name == "a") as file:
            file.write(b"new" * 1000)
    assert contents(tmp_path) == {"a": "new" * 1000, "b": "new" * 1000}
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666
