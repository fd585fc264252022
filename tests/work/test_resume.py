"""A decode with a work folder goes on where another one stopped, and writes the same bytes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from random import Random
from stat import S_ISREG
from typing import Any

import numpy as np
import pytest

from tests.sinks.readers import read_png
from tests.support.models import random_latents, random_vae
from tests.support.plans import plan_for
from tests.work.stopping import LATENTS, LOW, MODEL, decode, stopped, written
from zvae_tiled import VAE
from zvae_tiled.devices import cores
from zvae_tiled.engine import checkpoints, saved
from zvae_tiled.engine.moments import BLOCK
from zvae_tiled.errors import BudgetError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.report.progress import Progress
from zvae_tiled.sinks import png

CONFIG = AutoencoderKLConfig(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=2)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note after every band, and blocks of a few rows."""
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(png, "BLOCK", 1 << 10)


@pytest.mark.parametrize("slow", [False, True])
def test_of_a_slow_block_no_finished_row_is_computed_again(
    slow: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments are noted by blocks of 32 rows, and row by row where such a block may take long."""
    monkeypatch.setattr(checkpoints, "SLOW", 0.0 if slow else 1e9)
    vae, rng = random_vae(CONFIG), Random(0)
    latents = random_latents(CONFIG, 30, 4)
    options: dict[str, Any] = {"plan": plan_for(vae, latents.shape, rng, ("disk",))}
    vae.decode_to_file(latents, tmp_path / "a.npy", **options)
    want, notes = written(tmp_path), list[tuple[int, int]]()
    apply = checkpoints.Checkpoints._apply

    def applied(self: checkpoints.Checkpoints, note: dict[str, Any]) -> None:
        apply(self, note)
        notes.append((self.sweep, self.rows))
        if "moments" in note and len(notes) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "_apply", applied)
    with pytest.raises(KeyboardInterrupt):
        vae.decode_to_file(latents, tmp_path / "a.npy", work=tmp_path / "work", **options)
    noted = len(notes)
    sweep, rows = notes[-1]
    assert (rows > 0) == slow, "a picture of 30 rows has no block where it is stored"
    report = vae.decode_to_file(latents, tmp_path / "a.npy", work=tmp_path / "work", **options)
    assert report.went_on
    assert written(tmp_path) == want
    assert notes[noted : 2 * noted] == notes[:noted], "the journal is read"
    assert notes[2 * noted] > (sweep, rows) or not slow


def test_no_row_is_computed_again_but_for_the_moments_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process begins at the sweep where the one before it stopped, at most 31 rows and a band above the row."""
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 150, 3)
    begun: list[tuple[int, int, int]] = []
    came: list[tuple[int, int]] = []
    part, passed = saved.SavedRun._part, checkpoints.Checkpoints.passed

    def watched_part(self: Any, index: int, *rest: Any) -> Any:
        sweep = self._stage.sweeps[index]
        band = sweep.rows * CONFIG.chain("decode").factors[sweep.stop]
        begun.append((index, rest[-1].ended.first, band))
        came.append((index, rest[-1].ended.first))
        return part(self, index, *rest)

    def watched_passed(self: Any, rows: int, *rest: Any) -> None:
        came.append((self.sweep, rows))
        passed(self, rows, *rest)

    monkeypatch.setattr(saved.SavedRun, "_part", watched_part)
    monkeypatch.setattr(checkpoints.Checkpoints, "passed", watched_passed)
    stops = middles = 0
    for stop in range(3, 100, 5):
        left, before, reached = [stop], len(begun), came[-1] if came else (0, 0)

        def listener(progress: Progress, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        try:
            vae.decode_to_file(latents, tmp_path / "a.npy", work=tmp_path / "work", budget="1GB", progress=listener)
            break
        except KeyboardInterrupt:
            stops += 1
        finally:
            sweep, first, band = begun[before]
            assert sweep >= reached[0]
            assert sweep > reached[0] or first >= reached[1] - BLOCK + 1 - band
            middles += first > 0
    assert stops > 3
    assert middles > 1, "few processes began in the middle of a sweep"
    vae.decode_to_file(latents, tmp_path / "b.npy", budget="1GB")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))


def test_the_time_to_go_counts_what_this_process_did(tmp_path: Path) -> None:
    """Not the rows of a sweep that another process had read: hours to go looked like minutes."""
    latents, seen = random_latents(CONFIG, 128, 5), list[Progress]()
    options: dict[str, Any] = {"plan": plan_for(MODEL, latents.shape, Random(1), ("disk",)), "budget": None}
    stopped(tmp_path, 47, latents=latents, **options)  # at the end of a long sweep
    decode(tmp_path, latents=latents, progress=seen.append, **options)
    assert seen[0].rows > 100
    assert 0 < seen[0].done - seen[0].before < 2 * (seen[1].done - seen[0].done), "more than it has just read"
    assert seen[-1].before == 0  # it is done


def test_maps_that_are_removed_give_their_room_on_the_disk_back(tmp_path: Path) -> None:
    before, looks = nameless(), list[int]()

    def look(progress: Progress) -> None:
        looks.append(len(nameless() - before))

    decode(tmp_path, progress=look, **LOW)
    assert sum(sweep.medium is not None for sweep in LOW["plan"].sweeps) > 3
    assert looks
    assert not any(looks)


def nameless() -> set[tuple[int, int]]:
    """The open files of this process that have no name any more."""
    found = set()
    for handle in range(1024):
        with suppress(OSError):
            status = os.fstat(handle)
            if S_ISREG(status.st_mode) and not status.st_nlink:
                found.add((status.st_dev, status.st_ino))
    return found


def test_a_decode_goes_on_where_there_are_more_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels and compression take memory for each core, and the budget is that of the machine that began."""
    latents = random_latents(CONFIG, 64, 20, batch=2)
    monkeypatch.setattr(cores, "_cores", lambda: 1)
    with pytest.raises(BudgetError) as refused:
        MODEL.decode_to_file(latents, tmp_path / "a.png", budget="1kB")
    budget = f"{refused.value.needed}B"
    stopped(tmp_path, latents=latents, name="a.png", budget=budget)
    monkeypatch.setattr(cores, "_cores", lambda: 64)
    with pytest.raises(BudgetError):
        MODEL.decode_to_file(latents, tmp_path / "b.png", budget=budget)
    MODEL.decode_to_file(latents, tmp_path / "a.png", budget=budget, work=tmp_path / "work")
    MODEL.decode_to_file(latents, tmp_path / "b.png")
    for number in range(2):
        first, second = (read_png(tmp_path / f"{name}-{number}.png")[0] for name in "ab")
        assert np.array_equal(first, second)


def test_bits_may_be_numpys(tmp_path: Path) -> None:
    numbers: list[Any] = [16, np.int64(16)]
    for number in numbers:
        MODEL.decode_to_file(LATENTS, tmp_path / f"{type(number)}.png", work=tmp_path / "work", bits=number, **LOW)
    first, second = tmp_path.glob("*.png")
    assert first.read_bytes() == second.read_bytes()


def test_without_a_work_folder_nothing_has_a_name(tmp_path: Path) -> None:
    def look(progress: Progress) -> None:
        assert os.listdir(tmp_path) == []

    VAE.demo().decode_to_file(random_latents(VAE.demo().config, 4, 4), tmp_path / "a.png", progress=look)
