"""Work folders whose journal or maps are damaged."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.work.stopping import CONFIG, LATENTS, LOW, MODEL, decode, stopped
from zvae_tiled.engine import checkpoints
from zvae_tiled.errors import OutputError
from zvae_tiled.files.journal import Journal, read_records
from zvae_tiled.files.work_folder import ends_of, is_work_folder


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


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


def test_a_record_that_the_disk_takes_in_parts_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    file = journal._file
    journal._file = SimpleNamespace(write=lambda data: file.write(data[:3]), fileno=file.fileno, tell=file.tell)  # type: ignore[assignment]
    journal.append({"a": 1})
    file.close()
    assert list(read_records(tmp_path / "journal")) == [{"a": 1}]


def test_maps_that_are_gone_or_shorter_are_refused(tmp_path: Path) -> None:
    stopped(tmp_path, 66, **LOW)
    read = min((tmp_path / "work").glob("map-*-value"), key=lambda path: int(path.name.split("-")[2]))
    os.truncate(read, 5)
    with pytest.raises(OutputError, match="no longer the"):
        decode(tmp_path, **LOW)
    read.unlink()
    with pytest.raises(OutputError, match="is gone"):
        decode(tmp_path, **LOW)


def test_notes_are_small(tmp_path: Path) -> None:
    stopped(tmp_path, 66, **LOW)
    records = list(read_records(tmp_path / "work" / "journal"))
    assert len(records) > 10
    assert max(len(str(record)) for record in records[1:]) < 200 + 2 * 32 * CONFIG.norm_num_groups


def test_a_journal_of_days_takes_no_memory(tmp_path: Path) -> None:
    """A note with the moments of a slow block has 25 kB, and one is made every five seconds."""
    journal = Journal(tmp_path / "journal")
    for number in range(400):
        journal.append({"at": number, "moments": "x" * 25_000})
    journal.close()
    tracemalloc.start()
    journal = Journal(tmp_path / "journal")
    count = sum(1 for _ in journal.notes())
    ends = ends_of(tmp_path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    journal.close()
    assert (count, [each["at"] for each in ends]) == (399, [0, 399])
    assert most < 20 * 25_000
