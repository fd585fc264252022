"""`zvae` in a container with little memory: a decode without a budget is never killed, and messages name the limit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.groups import real_group, run_in
from tests.support.running import environment, process
from zvae_tiled import plan
from zvae_tiled.demo import FOLDER, latents

LIMIT = 300 * 10**6

SIDE = 160
"""Latents a side: in ample memory, a decode of these takes more than the limit."""


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("latents") / "album.npy"
    np.save(file, latents("album")[:, :, :SIDE, :SIDE])
    return file


def zvae(group: Path, *words: str | Path) -> tuple[int, str, str]:
    child = run_in(group, "-m", "zvae_tiled.cli", *words, environment=environment())
    return child.returncode, child.stdout, child.stderr


def test_a_decode_without_a_budget_survives(album: Path, tmp_path: Path) -> None:
    decode: list[str | Path] = ["decode", album, "--vae", "demo", "--dtype", "float32", "--layout", "NCHW"]
    with real_group("memory", memory_limit_in_bytes=LIMIT) as group:
        code, _, told = zvae(group, *decode, "-o", tmp_path / "album.png", "--save-plan", tmp_path / "plan.json")
    assert code == 0, told
    assert json.loads((tmp_path / "plan.json").read_text())["budget"] < LIMIT
    ample = plan(FOLDER / "config.json", 8 * SIDE, 8 * SIDE, "4GB", dtype="float32", output="rows")
    assert ample.predicted_peak > LIMIT, "in ample memory the decode must take more than the limit"
    with Image.open(tmp_path / "album.png") as picture:
        assert picture.size == (8 * SIDE, 8 * SIDE)
        assert np.asarray(picture).std() > 10


def test_the_refusal_names_the_limit(album: Path, tmp_path: Path) -> None:
    with real_group("memory", memory_limit_in_bytes=LIMIT) as group:
        code, _, told = zvae(group, "plan", "2048", "--budget", "1%")
    assert code == 4, told
    assert "MB available (memory limit of this container))" in told
    outside = process(["plan", "2048", "--budget", "0.001%"])
    assert outside.returncode == 4
    assert b"available)" in outside.stderr


def test_the_doctor_names_the_limit() -> None:
    with real_group("memory", memory_limit_in_bytes=LIMIT) as group:
        code, told, errors = zvae(group, "doctor")
    assert code == 0, errors
    lines = {line[:12].strip(): line[13:] for line in told.splitlines()}
    for name in ("memory", "budget"):
        assert "MB available (memory limit of this container)" in lines[name]
        assert int(lines[name].partition(" MB")[0].split()[-1]) < LIMIT / 1e6
