"""A Deep Zoom picture: every tile of every level, published whole or not at all."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import mlx.core as mx
import numpy as np
import pytest

from tests.sinks.cases import NOTES, Picture
from tests.sinks.readers import read_png
from tests.sinks.test_memory import CONFIG, VAE
from tests.sinks.test_pyramid import check_levels
from tests.support.leftovers import file_size_limit, refusal
from tests.support.models import random_latents
from zvae_tiled.errors import BudgetError
from zvae_tiled.files import new_folder
from zvae_tiled.files.parts import part_name, sweep
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.sinks import crew, deep_zoom
from zvae_tiled.sinks.target import file_target

Pixels = np.ndarray[Any, np.dtype[Any]]

SIDE = 16
"""A tile's side in these tests, for many tiles of small pictures."""


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_zoom, "TILE", SIDE)
    monkeypatch.setattr(crew, "usable_cores", lambda: 3)


def content(folder: Path) -> dict[str, bytes | None]:
    """All files and folders below this one."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def read_levels(path: Path) -> list[Pixels]:
    """The levels, the picture first, put together from their tiles."""
    image = ElementTree.parse(path).getroot()
    assert image.tag == "{http://schemas.microsoft.com/deepzoom/2008}Image"
    assert image.attrib == {"Format": "png", "Overlap": "1", "TileSize": str(SIDE)}
    (size,) = image
    height, width = int(size.attrib["Height"]), int(size.attrib["Width"])
    folder = path.with_name(f"{path.stem}_files")
    last = (max(height, width) - 1).bit_length()
    assert {level.name for level in folder.iterdir()} == {str(level) for level in range(last + 1)}
    levels = []
    for level in range(last, -1, -1):
        shrunk = 1 << (last - level)
        tall, wide = -(-height // shrunk), -(-width // shrunk)
        down, across = -(-tall // SIDE), -(-wide // SIDE)
        channels = read_png(folder / f"{level}/0_0.png")[0].shape[-1]
        names = {f"{column}_{row}.png" for row in range(down) for column in range(across)}
        assert {tile.name for tile in (folder / str(level)).iterdir()} == names
        whole = np.full((tall, wide, channels), -1)
        for row, column in itertools.product(range(down), range(across)):
            tile, _ = read_png(folder / f"{level}/{column}_{row}.png")
            down_to, right_to = (row + 1) * SIDE + 1, (column + 1) * SIDE + 1
            part = slice(max(0, row * SIDE - 1), down_to), slice(max(0, column * SIDE - 1), right_to)

            assert np.all((whole[part] == -1) | (whole[part] == tile)), "neighbours agree"
            whole[part] = tile
        levels.append(whole.astype(np.uint8))
    return levels


def drawn(seed: int) -> Picture:
    rng = Random(seed)
    picture = Picture.drawn(rng, (".png",), most=rng.choice([33, 70]))
    picture.ending, picture.bits = ".dzi", 8
    return picture


@pytest.mark.parametrize("seed", range(12))
def test_every_level_is_there_for_any_cores_and_bands(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = drawn(seed)
    path = picture.write(tmp_path)
    levels, first = read_levels(path), content(tmp_path)
    assert np.array_equal(levels[0], picture.stored)
    assert levels[-1].shape[:2] == (1, 1)
    check_levels(levels)
    assert sum(len(data or b"") for data in first.values()) <= picture.target(tmp_path).needed
    monkeypatch.setattr(crew, "usable_cores", lambda: 1)
    picture.bands = [1] * len(picture.values)
    picture.write(tmp_path)  # replaces it
    assert content(tmp_path) == first


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("before", [False, True])
def test_one_that_is_stopped_or_does_not_fit_leaves_what_was_there(seed: int, before: bool, tmp_path: Path) -> None:
    if before:
        Picture(np.ones((20, 20, 3), np.float32), [20], ".dzi", 8).write(tmp_path)
    old, picture = content(tmp_path), drawn(seed)
    sink = picture.target(tmp_path).sink(NOTES)
    sink.write(0, mx.array(picture.values[None, : picture.bands[0]]))
    sink.abort()
    sink.abort()
    assert content(tmp_path) == old
    sink = picture.target(tmp_path).sink(NOTES)
    with file_size_limit(60):  # no tile is smaller
        assert "picture.dzi cannot be written: " in refusal(sink.write, 0, mx.array(picture.values[None]))
    sink.abort()
    assert content(tmp_path) == old


class InterruptedOnce:
    """A function in whose call number `when`, from 0, Ctrl-C is pressed: before it does anything."""

    def __init__(self, function: Callable[..., Any], when: int) -> None:
        self.function = function
        self.left = when

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt
        return self.function(*args, **options)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("failing", ["rename", "link", "replace"])
def test_an_interrupt_while_it_gets_its_names_leaves_what_was_there(
    failing: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before:
        Picture(np.ones((20, 20, 3), np.float32), [20], ".dzi", 8).write(tmp_path)
    old, picture = content(tmp_path), drawn(3)
    for until in range(4):
        sink = picture.target(tmp_path).sink(NOTES)
        sink.write(0, mx.array(picture.values[None]))
        with monkeypatch.context() as patch:
            patch.setattr(os, failing, InterruptedOnce(getattr(os, failing), until))
            try:
                sink.close()
            except KeyboardInterrupt:
                sink.abort()
                assert content(tmp_path) == old
                continue
        assert until, "nothing was interrupted"
        assert np.array_equal(read_levels(tmp_path / "picture.dzi")[0], picture.stored)
        assert len(list(tmp_path.iterdir())) == 2
        return
    pytest.fail("it never got its names")


def test_only_a_folder_of_tiles_is_replaced(tmp_path: Path) -> None:
    picture = drawn(0)
    folder = tmp_path / "picture_files"
    picture.write(tmp_path)
    assert "there is a file of that name" in refusal(picture.target, tmp_path, overwrite=False)
    (tmp_path / "picture.dzi").unlink()
    assert "there is a folder of that name" in refusal(picture.target, tmp_path, overwrite=False)
    for strange in ("letter.txt", "0/letter.txt", "0/0_0.txt", "photos/0_0.png"):
        (folder / strange).parent.mkdir(exist_ok=True)
        (folder / strange).write_text("mine")
        assert "is no tile of a picture" in refusal(picture.target, tmp_path)
        (folder / strange).unlink()
        shutil.rmtree(folder / "photos", ignore_errors=True)
    sink = picture.target(tmp_path).sink(NOTES)
    sink.write(0, mx.array(picture.values[None]))
    (folder / "letter.txt").write_text("mine")  # during the decode
    assert "a folder of that name has appeared" in refusal(sink.close)
    sink.abort()
    assert (folder / "letter.txt").read_text() == "mine"
    shutil.rmtree(folder)
    for make in (folder.touch, lambda: folder.symlink_to(tmp_path)):
        make()
        assert "is no tile of a picture" in refusal(picture.target, tmp_path)
        folder.unlink()


def test_a_folder_of_a_killed_process_is_removed_and_one_at_work_stays(tmp_path: Path) -> None:
    left = part_name(tmp_path / "picture_files")
    (left / "0").mkdir(parents=True)
    (left / "0/0_0.png").touch()
    at_work = new_folder.NewFolder(tmp_path / "other_files")
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [at_work.part]
    at_work.discard()
    assert not list(tmp_path.iterdir())


def test_it_is_no_stream_and_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "picture.dzi")
    assert "has a folder beside it" in refusal(drawn(0).target, tmp_path)
    with open(tmp_path / "a", "wb") as file:
        assert "format must be one of" in refusal(VAE.decode_to_file, random_latents(CONFIG, 4, 4), file, format="dzi")


def test_what_is_gathered_is_predicted_and_measured(tmp_path: Path) -> None:
    latents, path = random_latents(CONFIG, 20, 60), tmp_path / "a.dzi"
    gathered = file_target(path, (1, 40, 120, 3)).gathered
    with pytest.raises(BudgetError) as error:
        VAE.decode_to_file(latents, path, budget="1B")
    needed = error.value.needed
    with pytest.raises(BudgetError):
        VAE.decode_to_file(latents, path, budget=f"{needed - 1}B")
    assert not list(tmp_path.iterdir())
    report = VAE.decode_to_file(latents, path, budget=f"{needed}B")
    assert report.measured_peak <= report.predicted_peak - PROCESS < report.predicted_peak <= needed
    with pytest.raises(BudgetError) as error:
        VAE.decode_to_file(latents, tmp_path / "a.npy", budget="1B")
    assert 0.9 * gathered <= needed - error.value.needed <= gathered
    VAE.decode_to_file(latents, tmp_path / "a.png")
    assert np.array_equal(read_levels(path)[0], read_png(tmp_path / "a.png")[0])
