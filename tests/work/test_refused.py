"""Work folders that do not fit the decode, are in use, or are damaged."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from tests.support.models import random_latents, random_vae
from tests.support.running import run
from tests.work.stopping import CONFIG, LATENTS, LOW, MODEL, decode, stopped
from zvae_tiled import VAE
from zvae_tiled.devices.blas import BlasStatus
from zvae_tiled.engine import checkpoints
from zvae_tiled.engine.spill import SavedBands
from zvae_tiled.errors import InputError, OutputError, ZvaeError
from zvae_tiled.files.journal import Journal, read_records
from zvae_tiled.files.work_file import WorkFile
from zvae_tiled.files.work_folder import WorkFolder, is_work_folder
from zvae_tiled.planner import storage
from zvae_tiled.report.progress import Progress


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"latents": random_latents(CONFIG, 16, 5, seed=1)}, "other latents"),
        ({"vae": random_vae(CONFIG, seed=1)}, "other weights"),
        ({"vae": VAE(replace(CONFIG, scaling_factor=1.0), MODEL.weights, MODEL.dtype)}, "another config of the VAE"),
        ({"budget": "2GB"}, "other options"),
        ({"disk_limit": "2GB"}, "other options"),
        ({"bits": 16}, "other outputs"),
        ({"name": "a.safetensors"}, "other outputs"),
    ],
)
@pytest.mark.sample(3)
def test_a_folder_of_another_decode_is_refused(other: dict[str, Any], reason: str, tmp_path: Path) -> None:
    stopped(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "work").iterdir()}
    with pytest.raises(OutputError, match=reason):
        decode(tmp_path, **other)
    assert {path.name: path.read_bytes() for path in (tmp_path / "work").iterdir()} == before
    goes_on = decode(tmp_path, name="b.npy")  # the name of the file is no part of what is compared
    assert np.array_equal(goes_on, MODEL.decode(LATENTS, "np")[0])
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ("mlx_version", lambda: "0.0.1", "here mlx 0.0.1"),
        ("zlib.ZLIB_RUNTIME_VERSION", "0.0.1", "here zlib 0.0.1"),
        ("preload", lambda: BlasStatus("custom", "/lib/libfast.so.1", True, ""), "here BLAS libfast.so.1"),
    ],
)
def test_other_kernels_are_refused(
    place: str, value: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path)
    monkeypatch.setattr(f"zvae_tiled.jobs.work.{place}", value)
    with pytest.raises(OutputError, match=f"another program, or other kernels: .*{told}"):
        decode(tmp_path)


def test_two_processes_in_one_folder(tmp_path: Path) -> None:
    def listener(progress: Progress) -> None:
        with pytest.raises(OutputError, match="the work folder of another process"):
            decode(tmp_path)

    decode(tmp_path, progress=listener)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "holiday.jpg").touch()
    with pytest.raises(OutputError, match=r"holds holiday\.jpg"):
        decode(tmp_path)
    assert os.listdir(tmp_path / "work") == ["holiday.jpg"]


def test_files_of_such_names_without_a_journal_are_somebody_elses(tmp_path: Path) -> None:
    """As `split picture part-` leaves them. A refused decode removes nothing either."""
    (tmp_path / "work").mkdir()
    for name in ("part-aa", "map-1"):
        (tmp_path / "work" / name).touch()
    for budget in ("1GB", "1MB"):
        with pytest.raises(OutputError, match=r"holds map-1, so it is no work folder"):
            decode(tmp_path, budget=budget)
    assert sorted(os.listdir(tmp_path / "work")) == ["map-1", "part-aa"]


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


def cut(journal: bytes, at: int) -> bytes:
    return journal[:at]


def changed(journal: bytes, at: int) -> bytes:
    return journal[:at] + bytes([journal[at] ^ 1]) + journal[at + 1 :]


def longer(journal: bytes, at: int) -> bytes:
    return journal + journal[at:]


@pytest.mark.parametrize("damage", [cut, changed, longer])
@pytest.mark.sample(2)
def test_a_damaged_journal_goes_back_or_is_refused(damage: Callable[[bytes, int], bytes], tmp_path: Path) -> None:
    """In its first record, in the middle, and in its last one. A picture that is written is right."""
    stopped(tmp_path, 66, **LOW)
    want, kept = MODEL.decode(LATENTS, "np")[0], tmp_path / "kept"
    (tmp_path / "work").rename(kept)
    journal = (kept / "journal").read_bytes()
    ended = {"right": 0, "refused": 0}
    for at in (3, len(journal) // 3, len(journal) * 2 // 3, len(journal) - 40):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        shutil.copytree(kept, tmp_path / "work")
        (tmp_path / "work" / "journal").write_bytes(damage(journal, at))
        try:
            assert np.array_equal(decode(tmp_path, **LOW), want)
            ended["right"] += 1
        except OutputError as error:
            assert "zvae work --remove" in str(error)
            ended["refused"] += 1
    assert ended["right"], ended
    assert ended["refused"] or damage is longer, ended


def test_a_damaged_journal_stays_refused_and_its_maps_stay(tmp_path: Path) -> None:
    stopped(tmp_path)
    journal = tmp_path / "work" / "journal"
    journal.write_bytes(changed(journal.read_bytes(), 40))
    before = {path.name: path.read_bytes() for path in (tmp_path / "work").iterdir()}
    for _ in range(2):
        with pytest.raises(OutputError, match="damaged from its first record on"):
            decode(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "work").iterdir()} == before


@pytest.mark.parametrize("text", ["Dear diary, today I decoded a cat.", "me"])
def test_a_journal_of_another_program_is_not_lost(text: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "journal").write_text(text)
    with pytest.raises(OutputError, match=r"journal is a file of another program, so .* is no work folder") as refused:
        decode(tmp_path)
    assert "--remove" not in str(refused.value)
    assert not is_work_folder(tmp_path / "work")
    assert (tmp_path / "work" / "journal").read_text() == text


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


def test_a_record_that_the_disk_takes_in_parts_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    file = journal._file
    journal._file = SimpleNamespace(write=lambda data: file.write(data[:3]), fileno=file.fileno, tell=file.tell)  # type: ignore[assignment]
    journal.append({"a": 1})
    file.close()
    assert read_records(tmp_path / "journal") == [{"a": 1}]


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


def test_no_process_begins_in_a_folder_that_is_being_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = WorkFolder(tmp_path / "work")
    folder.begin({})
    (tmp_path / "work" / "map-0-0-value").touch()
    unlink = os.unlink

    def watched(path: Path) -> None:
        with pytest.raises(OutputError, match="another process"):
            WorkFolder(tmp_path / "work")
        unlink(path)

    monkeypatch.setattr(os, "unlink", watched)
    folder.remove()
    assert not (tmp_path / "work").exists()


def test_maps_that_are_gone_or_shorter_are_refused(tmp_path: Path) -> None:
    stopped(tmp_path, 66, **LOW)
    read = min((tmp_path / "work").glob("map-*-value"), key=lambda path: int(path.name.split("-")[2]))
    os.truncate(read, 5)
    with pytest.raises(OutputError, match="no longer the"):
        decode(tmp_path, **LOW)
    read.unlink()
    with pytest.raises(OutputError, match="is gone"):
        decode(tmp_path, **LOW)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"quality": "tiles"}, "cannot go on after a crash"),
        ({"spill_folder": "."}, "spill_folder= is set"),
        ({"name": "a.dzi"}, "a .dzi cannot be kept"),
        ({"name": "/dev/null"}, "a pipe or a device"),
    ],
)
def test_what_cannot_go_on_is_refused_before_there_is_a_folder(
    options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        decode(tmp_path, **options)
    with pytest.raises(ZvaeError):
        decode(tmp_path / "missing")
    assert not (tmp_path / "work").exists() or not os.listdir(tmp_path / "work")


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


def test_a_format_that_is_written_again_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="this format is written again from the last stored map"):
        MODEL.decode_to_file(LATENTS, tmp_path / "a.ptif", work=tmp_path / "work", budget="1GB")


def test_notes_are_small(tmp_path: Path) -> None:
    stopped(tmp_path, 66, **LOW)
    records = read_records(tmp_path / "work" / "journal")
    assert len(records) > 10
    assert max(len(str(record)) for record in records[1:]) < 200 + 2 * 32 * CONFIG.norm_num_groups
