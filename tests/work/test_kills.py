"""Decodes that are killed at random rows go on there, and write the bytes of one that was not killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import run, save_latents, save_vae
from zvae_tiled.engine.run import Run
from zvae_tiled.files.journal import Journal
from zvae_tiled.files.work_folder import WorkFolder


@pytest.mark.slow
@pytest.mark.parametrize("kills", [20, 200])  # CI runs the 20
def test_killed_decodes_write_the_same_bytes(kills: int, tmp_path: Path) -> None:
    save_vae(tmp_path / "vae")
    save_latents(tmp_path / "latents.npy", 20, 9)
    command = [sys.executable, "-m", "tests.work.kills", str(tmp_path), str(kills), "0"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[-1]) >= kills


@pytest.mark.parametrize("emptied", [False, True])
def test_a_decode_that_was_killed_after_it_had_published_ends_without_overwriting(
    emptied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just then; or after the records of its folder were removed, when nothing could go on."""

    def killed(folder: WorkFolder) -> None:
        if emptied:
            folder.journal.empty()
        raise KeyboardInterrupt

    work, a, b = (tmp_path / name for name in ("work", "a.npy", "b.npy"))
    latents, vae = save_latents(tmp_path / "latents.npy"), save_vae(tmp_path / "vae")
    words: list[str | Path] = ["decode", latents, "--vae", vae, "--work", work, "-q", "--no-overwrite", "-o"]
    with monkeypatch.context() as patch:
        patch.setattr("zvae_tiled.jobs.decode.removed", killed)
        run(*words, a, code=130)
    before = a.stat()
    b.touch()
    assert f"{b}: there is a file of that name" in run(*words, b, code=5).stderr
    said = run(*words, a, code=5 if emptied else 0).stderr
    assert (f"{a}: there is a file of that name" in said) == emptied
    assert (a.stat().st_ino, a.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert work.exists() == emptied


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_kill_while_maps_are_removed_loses_no_picture(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are most of what is removed. The same command only removes the rest, and writes nothing anew."""

    def killed(journal: Journal) -> None:
        assert not [name for name in os.listdir(journal.path.parent) if name.startswith("map-")]
        raise KeyboardInterrupt

    work, target = tmp_path / "work", tmp_path / "a.npy"
    latents, vae = save_latents(tmp_path / "latents.npy"), save_vae(tmp_path / "vae")
    words: list[str | Path] = ["decode", latents, "--vae", vae, "--work", work, "-o", target]
    words += [] if overwrite else ["--no-overwrite"]
    with monkeypatch.context() as patch:
        begun: list[None] = []
        empty = Journal.empty
        patch.setattr(Journal, "empty", lambda journal: killed(journal) if begun else begun.append(empty(journal)))
        said = run(*words, code=130).stderr
    assert "interrupted: the same command goes on from here" in said
    before = target.stat()
    monkeypatch.setattr(Run, "_sweep", lambda *_: pytest.fail("it is decoded again"))
    run(*words)
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not work.exists()


def test_skipped_latents_name_the_work_folder_that_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "work").mkdir()
    latents, vae = save_latents(tmp_path / "a.npy"), save_vae(tmp_path / "vae")
    words: list[str | Path] = ["decode", latents, "-o", tmp_path / "a.png", "--vae", vae]
    for made in (False, True):
        if made:
            (tmp_path / "work" / "journal").touch()
        said = run(*words, "--skip-existing", "--work", tmp_path / "work").stderr
        assert f"skipped    {tmp_path / 'a.png'}: it exists" in said
        assert (f"zvae work --remove {tmp_path / 'work'}" in said) == made
