"""What the disk refuses during a decode with a work folder: room, locks, and the removal of files."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from tests.support.running import run
from tests.work.stopping import LATENTS, LOW, MODEL, decode, stopped
from zvae_tiled.engine import checkpoints
from zvae_tiled.engine.spill import SavedBands
from zvae_tiled.errors import OutputError
from zvae_tiled.files.journal import Journal
from zvae_tiled.files.work_file import WorkFile
from zvae_tiled.files.work_folder import WorkFolder
from zvae_tiled.planner import storage


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes could write to one folder."""

    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(OutputError, match=r"(?s)No locks available.*a file system with locks"):
        decode(tmp_path)


def test_a_map_that_finds_no_room_has_the_advice_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(SavedBands, "_opened", full)
        with pytest.raises(OutputError, match=r"(?s)the disk is full.*Free space, and run the same decode again"):
            decode(tmp_path)
    assert np.array_equal(decode(tmp_path), MODEL.decode(LATENTS, "np")[0])


@pytest.mark.parametrize("place", ["file.samples", "work.WorkFile.finish", "file.publish"])
def test_a_picture_that_finds_no_room_has_the_advice_to_go_on(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"zvae_tiled.sinks.{place}", full)
        with pytest.raises(OutputError, match=r"(?s)a\.npy cannot be written: No space.*Free space, and run the same"):
            decode(tmp_path)
    assert np.array_equal(decode(tmp_path), MODEL.decode(LATENTS, "np")[0])


def test_a_read_only_file_is_replaced_by_a_decode_that_went_on(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    (tmp_path / "a.npy").chmod(0o444)
    stopped(tmp_path, 73, **LOW)  # in the last sweep
    (part,) = (tmp_path / "work").glob("part-*")
    assert part.stat().st_mode & 0o777 == 0o644, "the process that goes on writes to it"
    decode(tmp_path, **LOW)
    assert (tmp_path / "a.npy").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("linked", [True, False])
def test_a_file_that_is_taken_back_can_be_gone_on_with(
    linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not linked:
        monkeypatch.setattr(os, "link", lambda *_, **__: raise_(OSError(errno.EPERM, "no links here")))
    (tmp_path / "a.png").touch()
    (tmp_path / "a.png").chmod(0o444)
    file = WorkFile(tmp_path / "a.png", tmp_path / "part-0-0")
    file.give_name(overwrite=True)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o444
    file.take_back()
    file.discard()
    assert (tmp_path / "part-0-0").stat().st_mode & 0o777 == 0o644


def raise_(error: Exception) -> None:
    raise error


def test_a_full_disk_is_said_in_our_words_and_the_same_decode_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for place in ("files.journal.Journal.append", "files.work_folder.sync_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(f"zvae_tiled.{place}", full)
            with pytest.raises(OutputError, match=r"the work folder .* No space left"):
                decode(tmp_path)
    assert np.array_equal(decode(tmp_path), MODEL.decode(LATENTS, "np")[0])


def test_a_folder_that_cannot_be_listed_any_more_is_said_in_our_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        broken = Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO)))
        patch.setattr("zvae_tiled.files.work_folder.size_of", broken)
        with pytest.raises(OutputError, match=r"the work folder .* Input/output error"):
            decode(tmp_path)
    assert np.array_equal(decode(tmp_path), MODEL.decode(LATENTS, "np")[0])


def test_a_work_folder_that_cannot_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The picture is written, so it is a warning; zvae work --remove must not say that it was removed."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "empty", Mock(side_effect=[None, full]))
        assert np.array_equal(decode(tmp_path), MODEL.decode(LATENTS, "np")[0])
        assert "work cannot be removed: No space left on device. Remove it: zvae work --remove " in caplog.text
        patch.setattr(Journal, "empty", Mock(side_effect=full))
        with pytest.raises(OutputError, match="cannot be removed: No space left"):
            WorkFolder(tmp_path / "work").remove()
    run("work", "--remove", tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_too_little_free_space_counts_what_is_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path)
    held = sum(path.stat().st_blocks * 512 for path in (tmp_path / "work").iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(OutputError, match=rf"(?s)needs .* bytes.* {held:,} are free.*run the same decode again"):
        decode(tmp_path)


def test_pictures_on_another_disk_need_room_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, stat, usage = tmp_path / "other", os.stat, shutil.disk_usage
    other.mkdir()

    def on_disks(path: Any, **options: Any) -> Any:
        state = stat(path, **options)
        return os.stat_result((*state[:2], -1, *state[3:])) if path == other else state

    monkeypatch.setattr(os, "stat", on_disks)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0) if path == other else usage(path))
    with pytest.raises(OutputError, match=r"may need .* bytes; .*other has 0 free"):
        MODEL.decode_to_file(LATENTS, other / "a.npy", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_limit_that_is_a_share_of_the_free_space_holds_for_the_whole_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The maps on disk leave less free space for the process that goes on."""
    here = (tmp_path, tmp_path / "work")  # the folder is not there at first
    monkeypatch.setattr(storage, "free_space", lambda folder: 1 << 30 if folder in here else 0)
    stopped(tmp_path, disk_limit="50%")
    monkeypatch.setattr(storage, "free_space", lambda _: 1 << 10)
    assert np.array_equal(decode(tmp_path, disk_limit="50%"), MODEL.decode(LATENTS, "np")[0])


def test_a_batch_has_more_files_than_a_process_may_open_at_first(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/dev/fd"))
    files = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
        for number in range(32):
            files.append(WorkFile(tmp_path / f"{number}.png", tmp_path / f"part-0-{number}"))
    finally:
        for file in files:
            file.discard()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
