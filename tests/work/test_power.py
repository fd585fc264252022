"""The power is cut at any moment: no note is lost, nor what it vouches for, and no file is named before it is whole."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.files.publishing import only
from tests.support.models import random_latents, random_vae
from tests.support.plans import plan_for, random_config, random_dc
from tests.work.power import Cut, Power
from tests.work.stopping import CONFIG, written
from zvae_tiled.engine import checkpoints
from zvae_tiled.engine.spill import SavedBands
from zvae_tiled.files.atomic import publish
from zvae_tiled.files.journal import Journal, read_records
from zvae_tiled.files.new_file import NewFile
from zvae_tiled.files.work_file import WorkFile
from zvae_tiled.files.work_folder import WorkFolder
from zvae_tiled.sinks import png

FILES = ["a.png", "b.tif", "c.npy", "d.safetensors"]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note after every band, and blocks of a few rows."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(png, "BLOCK", 1 << 10)


def records(folder: Path) -> int:
    """How many records the journal has."""
    journal = folder / "work" / "journal"
    return sum(1 for _ in read_records(journal)) if journal.exists() else 0


def written_whole(folder: Path, want: dict[str, bytes]) -> bool:
    """Whether each picture that has its name is whole."""
    return all(not (folder / name).exists() or (folder / name).read_bytes() == want[name] for name in want)


@pytest.mark.parametrize("seed", [0, 1, 3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 60))])
@pytest.mark.sample(3)
def test_power_may_be_cut_at_any_moment(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several times in each decode, before an fsync or after the rows of a band."""
    if seed % 2:
        monkeypatch.setattr(checkpoints, "SLOW", 0.0)
    rng = Random(seed)
    config = CONFIG if seed == 0 else random_dc(rng) if seed % 5 == 1 else random_config(rng)
    vae, batch = random_vae(config), rng.choice([1, 1, 2])
    latents = random_latents(config, rng.randint(1, 20), rng.randint(1, 9), batch)
    names = rng.sample(FILES, rng.randint(1, 2))
    places = [tmp_path / name for name in names]
    options: dict[str, Any] = {"plan": plan_for(vae, latents.shape, rng, ("disk",))}
    vae.decode_to_file(latents, places, **options)
    want = written(tmp_path)
    assert len(want) == batch * len(names)
    power, cuts, noted = Power(tmp_path, monkeypatch), 0, [0]
    append, note, empty = SavedBands.append, Journal.append, Journal.empty

    def appended(self: SavedBands[Any], rows: Any) -> None:
        append(self, rows)
        power.tick()

    def put_down(self: Journal, record: dict[str, Any]) -> None:
        note(self, record)
        noted[0] = records(tmp_path)

    def emptied(self: Journal) -> None:
        noted[0] = 0
        empty(self)

    monkeypatch.setattr(SavedBands, "append", appended)
    monkeypatch.setattr(Journal, "append", put_down)
    monkeypatch.setattr(Journal, "empty", emptied)
    while True:
        power.left = rng.randint(1, 40 * cuts or 8)  # the first cut comes before any decode's end
        try:
            vae.decode_to_file(latents, places, work=tmp_path / "work", **options)
        except Cut:
            cuts += 1
            if rng.random() < 0.7:  # else the process alone is gone, and the system still has what it wrote
                power.lose(rng)
                assert records(tmp_path) >= noted[0], "no note is lost"
            assert written_whole(tmp_path, want), "nothing half-written"
            continue
        break
    power.close()
    assert not (tmp_path / "work").exists()
    assert written(tmp_path) == want
    assert cuts


def test_no_note_is_lost_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, most = Random(0), 0
    for number in range(30):
        folder, noted = tmp_path / str(number), 0
        folder.mkdir()
        with monkeypatch.context() as patch, ExitStack() as closing:
            power = Power(folder, patch)
            power.left = rng.randint(1, 12)
            with suppress(Cut):
                work = WorkFolder(folder / "work")
                closing.callback(work.close)
                work.begin({})
                for record in range(20):
                    noted = 1 + record
                    work.note({})
            power.lose(rng)
        assert records(folder) >= noted
        most = max(most, noted)
    assert 1 < most < 20


@pytest.mark.parametrize("way", ["link", "system"])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_name_is_never_there_before_the_bytes(
    before: bytes | None, kept: bool, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a file cannot be linked, and is copied."""
    rng, cuts = Random(0), 0
    new = b"new" * 100
    may_be: list[bytes | None]
    for number in range(20):
        folder = tmp_path / str(number)
        (folder / "work").mkdir(parents=True)
        path, part = folder / "a", folder / "work" / "part-0-0"
        if before is not None:
            path.write_bytes(before)
        with monkeypatch.context() as patch:
            power = Power(folder, patch)
            power.left = 1 + number % 5
            file = WorkFile(path, part) if kept else NewFile(path)
            try:
                with only(way):
                    file.file.write(new)
                    file.finish()
                    publish([file], before is not None)
                power.off()
                may_be = [new]
            except Cut:
                cuts += 1
                may_be = [before, new]
            file.discard()
            power.lose(rng)
            assert (path.read_bytes() if path.exists() else None) in may_be
    assert 0 < cuts < 20
