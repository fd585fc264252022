"""Work folders whose journal or maps are damaged."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def edited(folder: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the records of a work folder. Their checksums hold."""
    records = list(read_records(folder / "journal"))
    edit(records)
    journal = Journal(folder / "journal")
    journal.empty()
    for record in records:
        journal.append(record)
    journal.close()


def without_plan(records: list[dict[str, Any]]) -> None:
    del records[0]["plan"]


def with_another_plan(records: list[dict[str, Any]]) -> None:
    records[0]["plan"] = "[]"


def beyond_all(records: list[dict[str, Any]]) -> None:
    records.append({"at": [float("inf"), 0, 0]})


def in_no_sweep(records: list[dict[str, Any]]) -> None:
    records.append({"at": [0, 999, 0]})


def without_rows(records: list[dict[str, Any]]) -> None:
    records.append({**records[-1], "outputs": [[{}]]})


def without_size(records: list[dict[str, Any]]) -> None:
    records.append({"at": [1, 0, 0], "outputs": [[{"rows": 1}]]})


@pytest.mark.parametrize("edit", [without_plan, with_another_plan, beyond_all, in_no_sweep, without_rows, without_size])
def test_records_that_say_nonsense_are_refused(edit: Callable[[list[dict[str, Any]]], object], tmp_path: Path) -> None:
    """Checksums vouch for what was written, not for who wrote it."""
    stopped(tmp_path)
    edited(tmp_path / "work", edit)
    with pytest.raises(OutputError, match=f"the journal of {tmp_path / 'work'} is damaged: .*\n.* zvae work --remove"):
        decode(tmp_path)


@pytest.mark.parametrize(("name", "state"), [("a.png", {"rows": 1}), ("a.tif", {"rows": 1})])
def test_states_of_other_formats_are_refused(name: str, state: dict[str, int], tmp_path: Path) -> None:
    stopped(tmp_path, name=name)
    edited(tmp_path / "work", lambda records: records.append({**records[-1], "outputs": [[state]]}))
    with pytest.raises(OutputError, match="is damaged"):
        MODEL.decode_to_file(LATENTS, tmp_path / name, budget="1GB", work=tmp_path / "work")


def test_a_record_that_is_nested_too_deeply_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append({"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr("zvae_tiled.files.journal.json.dumps", lambda *_, **__: "[" * 100_000)
        journal.append({})
    journal.close()
    assert list(read_records(tmp_path / "journal")) == [{"a": 1}]
    journal = Journal(tmp_path / "journal")
    journal.close()
    assert journal.torn


def test_a_journal_that_is_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    os.mkfifo(tmp_path / "work" / "journal")
    with pytest.raises(OutputError, match=r"journal is a file of another program, so .* is no work folder"):
        decode(tmp_path)
    assert not is_work_folder(tmp_path / "work")
    (tmp_path / "a.npy").touch()
    with pytest.raises(OutputError, match="there is a file of that name"):
        decode(tmp_path, overwrite=False)
    assert os.listdir(tmp_path / "work") == ["journal"]


@pytest.mark.parametrize("text", ["Dear diary, today I decoded a cat.", "me"])
def test_a_journal_of_another_program_is_not_lost(text: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "journal").write_text(text)
    (tmp_path / "work" / ".DS_Store").touch()
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
