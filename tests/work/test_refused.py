"""Work folders that do not fit the decode, or are in use."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.models import random_latents, random_vae
from tests.work.stopping import CONFIG, LATENTS, MODEL, decode, stopped
from zvae_tiled import VAE
from zvae_tiled.devices.blas import BlasStatus
from zvae_tiled.engine import checkpoints
from zvae_tiled.errors import InputError, OutputError, ZvaeError
from zvae_tiled.files.work_folder import WorkFolder, is_work_folder
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


@pytest.mark.parametrize("name", [".DS_Store", "._map-1", ".directory", ".nfs0000000000a1b2c300000001"])
@pytest.mark.parametrize("begun", [False, True])
def test_what_file_managers_leave_in_a_folder_does_not_matter(name: str, begun: bool, tmp_path: Path) -> None:
    if begun:
        stopped(tmp_path)
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / name).touch()
    assert is_work_folder(tmp_path / "work") == begun
    decode(tmp_path)
    assert not (tmp_path / "work").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_folder_is_removed_when_no_file_in_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS keeps a name in the folder for a file that is removed while it is open."""
    rmdir = os.rmdir

    def watched(path: Path) -> None:
        handles = [os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]
        assert not [each for each in handles if each.startswith(str(tmp_path / "work"))]
        rmdir(path)

    monkeypatch.setattr(os, "rmdir", watched)
    decode(tmp_path)
    assert not (tmp_path / "work").exists()


def test_files_of_such_names_without_a_journal_are_somebody_elses(tmp_path: Path) -> None:
    """As `split picture part-` leaves them. A refused decode removes nothing either."""
    (tmp_path / "work").mkdir()
    for name in ("part-aa", "map-1"):
        (tmp_path / "work" / name).touch()
    for budget in ("1GB", "1MB"):
        with pytest.raises(OutputError, match=r"holds map-1, so it is no work folder"):
            decode(tmp_path, budget=budget)
    assert sorted(os.listdir(tmp_path / "work")) == ["map-1", "part-aa"]


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


def test_an_output_in_the_work_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("work")
    for name in ("work/a.npy", "link/a.npy"):
        with pytest.raises(InputError, match="is in the folder that work= names"):
            decode(tmp_path, name=name)
    assert not os.listdir(tmp_path / "work")


def test_a_format_that_is_written_again_is_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="this format is written again from the last stored map"):
        MODEL.decode_to_file(LATENTS, tmp_path / "a.ptif", work=tmp_path / "work", budget="1GB")
