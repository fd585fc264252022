"""`zvae decode --work`, `zvae work` and `--disk-limit`."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.decoding import files, levels
from tests.support.running import ROOT, run, save_latents, save_vae
from tests.work.stopping import LATENTS, LOW, MODEL, stopped
from zvae_tiled.cli.work import progress
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.files.journal import read_records
from zvae_tiled.planner.files import parse

STOPPED = """
import os, runpy, signal
from zvae_tiled.engine.checkpoints import Checkpoints

def begin(self, *files, begin=Checkpoints.begin):
    begin(self, *files)
    if self.sweep == 2:
        os.kill(os.getpid(), signal.SIGTERM)

Checkpoints.begin = begin
runpy.run_module("zvae_tiled.cli", run_name="__main__")
"""
"""The command, whose third sweep is interrupted however slow the machine is."""


def test_an_interrupted_decode_is_listed_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    vae, latents, folder = (
        save_vae(tmp_path / "vae"),
        save_latents(tmp_path / "latents.npy", 300, 30),
        tmp_path / "work",
    )
    words: list[str | Path] = ["decode", latents, "--vae", vae, "--budget", "40MB", "-o", tmp_path / "a.npy"]
    process = subprocess.run(
        [sys.executable, "-c", STOPPED, *map(str, words), "--work", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    told = process.stderr
    assert process.returncode == 143, told
    assert told.splitlines()[-1] == "interrupted: the same command goes on from here"

    listed = run("work", tmp_path).output.splitlines()
    assert len(listed) == 1
    assert listed[0].startswith(f"{folder}  {tmp_path / 'a.npy'}: 1 x 60x600, ")
    assert "% done, " in listed[0]
    assert ", last used 20" in listed[0]
    save_latents(latents, 300, 30, seed=1)
    assert "other latents" in run(*words, "--work", folder, code=5).output
    save_latents(latents, 300, 30)
    words[words.index("40MB")] = "50MB"
    refused = run(*words, "--work", folder, code=5).stderr
    assert "was begun with other options: --budget 40MB, here --budget 50MB" in refused
    assert f"or remove this one: zvae work --remove {folder}" in refused
    words[words.index("50MB")] = "40MB"
    told = run(*words, "--work", folder).stderr
    done = re.search(r"went on    (?:in sweep \d+ of \d+, )?at row [\d,]+ of [\d,]+; (\d+)% was done before", told)
    assert done is not None, told
    assert 0 < int(done[1]) < 100
    assert f"{done[1]}% done, " in listed[0]
    assert not folder.exists()
    run(*words[:-1], tmp_path / "b.npy")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("full", [True, False])
def test_a_picture_that_does_not_reach_standard_output_is_kept(
    full: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if full else KeyboardInterrupt

    def elsewhere(source: Path, target: Path) -> None:
        if target.parent == Path():
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        source.rename(target)

    (place / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(place / "tmp"))
    monkeypatch.setattr("zvae_tiled.cli.outputs.shutil.copyfileobj", stop)
    if not full:
        monkeypatch.setattr("zvae_tiled.cli.outputs.rename_exclusively", elsewhere)
    told = run("decode", "a.npy", "-o", "-", "--work", "work", "-q", code=5 if full else 130).stderr
    kept = Path() if full else place / "tmp"
    assert f"The picture is whole. It is in {kept / 'zvae-picture-1.png'}." in told
    assert "goes on" not in told
    assert levels((kept / "zvae-picture-1.png").rename(place / "kept.png"), place / "a.npy")
    assert files(place) == {"a.npy", "b.npy", "vae", "tmp", "kept.png"}
    assert not files(place / "tmp")


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_warning_has_no_place_in_the_source(place: Path) -> None:
    told = run("decode", "a.npy", "-o", "a.ptif", "--work", "work", "--dtype", "float32", "-q").stderr
    assert told.startswith("warning    a.ptif: after a crash this format is written again from the last stored map")
    assert "UserWarning" not in told
    assert ".py" not in told


def test_a_decode_with_an_early_look_goes_on_without_overwriting(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["decode", "a.npy", "-o", "a.png", "--early-look", "--no-overwrite", "--work", "work"]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("zvae_tiled.jobs.work.NotedSink.write", stop)
        run(*words, code=130)
    assert files(place) == {"a.npy", "b.npy", "vae", "a.preview.png", "work"}
    run(*words)
    assert levels(place / "a.png", place / "a.npy")
    (place / "a.png").unlink()
    told = run(*words).stderr  # of a decode that was refused after its look, too
    assert "early look a.preview.png is there: it is not written again" in told
    assert levels(place / "a.png", place / "a.npy")


def test_files_in_the_work_folder_are_refused(place: Path) -> None:
    (place / "work").mkdir()
    for words in (["-o", "work/a.png"], ["-o", "a.png", "--save-plan", "work/plan.json"]):
        assert "is in the work folder" in run("decode", "a.npy", *words, "--work", "work", code=2).stderr
    assert not files(place / "work")


def test_a_link_to_a_work_folder_is_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "disk").mkdir()
    (place / "link").symlink_to("disk")
    stopped(place, name="c.npy", work="link")
    assert "c.npy" in run("work", "link").output
    run("work", "--remove", "link")
    assert not (place / "disk").exists()
    (place / "disk").mkdir()
    assert "Directory" not in run("decode", "a.npy", "-o", "a.png", "--work", "link").stderr
    assert not (place / "disk").exists()


def test_after_a_silent_failure_the_printed_command_decodes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SilentFailureError("decoder.conv_out gave NaN", "Decode in a wider type.")

    with monkeypatch.context() as patch:
        patch.setattr("zvae_tiled.jobs.work.NotedSink.write", fail)
        told = run("decode", "a.npy", "-o", "a.png", "--work", "work", code=6).stderr
    commands = told.strip().splitlines()[-1].split(" && ")
    assert len(commands) == 2, told
    for command in commands:
        run(*shlex.split(command)[1:])
    assert levels(place / "a.png", place / "a.npy", "float32")


def test_a_picture_is_named_from_any_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative names meant another file there, or none."""
    (place / "out").mkdir()
    stopped(Path(), name="out/c.npy")
    for here in (place, place / "out"):
        monkeypatch.chdir(here)
        assert f"{place / 'work'}  {place / 'out' / 'c.npy'}: 1 x " in run("work", place).output


def test_a_folder_can_be_removed(tmp_path: Path) -> None:
    stopped(tmp_path)
    assert "removed" in run("work", "--remove", tmp_path / "work").output
    assert not (tmp_path / "work").exists()
    assert run("work", tmp_path).output == "no work folders\n"


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(folder: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", refused)  # root may read everything
    assert f"{tmp_path} cannot be read: Permission denied" in run("work", tmp_path, code=3).stderr


def test_folders_that_are_no_work_folders_are_not_removed(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    (tmp_path / "holiday.jpg").touch()
    assert "is no work folder" in run("work", "--remove", tmp_path, code=3).output
    assert "name the folders" in run("work", "--remove", code=2).output
    assert (tmp_path / "journal").exists()


def test_the_rows_of_a_sweep_that_takes_hours_count(tmp_path: Path) -> None:
    stopped(tmp_path, 66, **LOW)
    (first, *_), rows = list(read_records(tmp_path / "work" / "journal")), MODEL.config.scale * LATENTS.shape[2]
    last = len(parse(first["plan"]).sweeps) - 1
    told = [progress([first, {"at": [0, last, at]}]) for at in (0, rows // 2, rows)]
    begun, half, done = (int(re.findall(r"(\d+)% done", line)[0]) for line in told)
    assert half == pytest.approx((begun + done) / 2, abs=1)
    assert done == 100
    assert progress([first, {"at": [float("inf"), 0, 0]}]) == "a journal that cannot be read"


@pytest.mark.parametrize("words", [("--preview",), ("{stem}2.npy",)])
def test_one_decode_only(words: tuple[str, ...], tmp_path: Path) -> None:
    one = save_latents(tmp_path / "a.npy")
    more = [save_latents(tmp_path / "b.npy")] if "{" in words[0] else list(words)
    refused = run("decode", one, *more, "-o", tmp_path / "{stem}.png", "--work", tmp_path / "work", code=2)
    assert "--work" in refused.output
    assert not (tmp_path / "work").exists()


def test_a_disk_limit_is_kept_or_refused(tmp_path: Path) -> None:
    text = run("plan", "512", "--budget", "200MB", "--device", "cpu/mlx", "--disk-limit", "0").output
    assert "nothing is spilled" in text
    refused = run("plan", "512", "--device", "cpu/mlx", "--disk-limit", "1MB", "--work", code=4).output
    assert "with --work needs at least" in refused
    assert "Raise --disk-limit to" in refused
    assert "'-5' is no amount of disk, 0 or more" in run("plan", "512", "--disk-limit=-5", code=2).output
