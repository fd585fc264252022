"""What is brought to the disk, and by which call: macOS' own empties the drive's cache, Linux' own reports errors."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from tests.files.publishing import contents, only
from tests.support.leftovers import refusal
from zvae_tiled.cluster.manifest import Manifest
from zvae_tiled.cluster.row import Row
from zvae_tiled.files import sync
from zvae_tiled.files.atomic import atomic_file, publish
from zvae_tiled.files.journal import Journal
from zvae_tiled.files.new_file import NewFile
from zvae_tiled.files.new_folder import NewFolder
from zvae_tiled.files.work_file import WorkFile
from zvae_tiled.sinks.target import file_target

FULL = 51
"""macOS' number of the call."""


class Drive:
    """A drive of macOS, whose cache the call empties, unless it fails with an error of this number."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.emptied: list[int] = []
        self.sizes: dict[int, int] = {}
        self.number = 0
        self._call = fcntl.fcntl
        patch.setattr(fcntl, "F_FULLFSYNC", FULL, raising=False)
        patch.setattr(fcntl, "fcntl", self.call)

    def call(self, handle: int, command: int, *more: int) -> int:
        if command != FULL:
            return self._call(handle, command, *more)
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        state = os.fstat(handle)
        self.emptied.append(state.st_ino)
        self.sizes[state.st_ino] = state.st_size
        return 0


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Drive:
    return Drive(monkeypatch)


def number_of(path: Path) -> int:
    return path.stat().st_ino


def test_all_that_is_synced_leaves_the_drive_s_cache(tmp_path: Path, drive: Drive) -> None:
    with atomic_file(tmp_path / "a") as file:
        file.write(b"new")
    assert {number_of(tmp_path / "a"), number_of(tmp_path)} <= set(drive.emptied)
    drive.emptied.clear()
    journal = Journal(tmp_path / "journal")
    for act in (lambda: journal.append({}), journal.empty):
        drive.emptied.clear()
        act()
        assert drive.emptied == [number_of(tmp_path / "journal")]
    journal.close()
    manifest = Manifest(tmp_path / "manifest")
    manifest.add(Row("a", (), "done"))
    manifest.close()
    assert number_of(tmp_path / "manifest") in drive.emptied


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_a_copy_is_synced_where_a_file_cannot_be_linked(
    kept: bool, overwrite: bool, tmp_path: Path, drive: Drive
) -> None:
    """On a file system without links, and for a picture and a work folder on two disks."""
    (tmp_path / "work").mkdir()
    if overwrite:
        (tmp_path / "a").write_text("old")
    file = WorkFile(tmp_path / "a", tmp_path / "work" / "part-0-0") if kept else NewFile(tmp_path / "a")
    text = "new" * 100_000
    file.file.write(text.encode())
    file.finish()
    with only("system"):
        publish([file], overwrite)
    assert (tmp_path / "a").read_text() == text
    if kept:  # the other may have had a name from the first, and needs no copy
        assert drive.emptied[0] != number_of(tmp_path / "a"), "it is a copy"
    assert drive.sizes[number_of(tmp_path / "a")] == len(text)


def test_a_file_system_without_that_call_has_fsync_and_a_disk_that_fails_is_told(tmp_path: Path, drive: Drive) -> None:
    for number in (errno.ENOTSUP, errno.ENOTTY, errno.EINVAL):
        drive.number = number
        with atomic_file(tmp_path / "a") as file:
            file.write(b"new")
    assert contents(tmp_path) == {"a": "new"}
    drive.number = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), atomic_file(tmp_path / "a") as file:
        file.write(b"newer")
    assert contents(tmp_path) == {"a": "new"}


def picture(path: Path) -> None:
    sink = file_target(path, (1, 300, 300, 3)).sink({})
    try:
        sink.write(0, mx.zeros((1, 300, 300, 3)))
        sink.close()
    except BaseException:
        sink.abort()
        raise


def test_a_disk_that_loses_a_tile_publishes_no_deep_zoom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux' call says that something was lost, perhaps by another program. Then each file is asked."""
    fsync = os.fsync

    def failing(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(handle)

    monkeypatch.setattr(sync, "_file_system_synced", lambda _: False)
    monkeypatch.setattr(os, "fsync", failing)
    assert os.strerror(errno.EIO) in refusal(picture, tmp_path / "a.dzi")
    assert contents(tmp_path) == {}


def test_where_there_is_no_call_for_all_tiles_each_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drive: Drive
) -> None:
    seen, fsync = list[int](), os.fsync

    def noted(handle: int) -> None:
        seen.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(sync, "_file_system_synced", lambda _: False)
    folder = NewFolder(tmp_path / "tiles")
    (folder.part / "0").mkdir()
    (folder.part / "0" / "0_0.png").write_bytes(b"tile")
    folder.finish()
    assert set(seen) == {number_of(path) for path in (folder.part, *folder.part.rglob("*"))}
    assert drive.emptied == [number_of(folder.part)], "once for all of them"
    folder.discard()


def test_linux_syncs_one_file_system(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    there = sync._file_system_synced(handle)
    os.close(handle)
    assert there == (sys.platform == "linux")
    assert not sync._file_system_synced(handle), "it is closed"
