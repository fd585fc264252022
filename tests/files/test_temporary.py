"""Temporary files lie where maps are spilled, never in a /tmp that may be memory while there is a disk. None stays."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.running import COMMAND, environment, process, save_latents
from zvae_tiled.cli.temporary import temporary_folder as folder_of_a_stream
from zvae_tiled.devices import calibrate
from zvae_tiled.files import parts
from zvae_tiled.files.temporary import temporary_folder

LASTING = Path("/var/tmp")


@pytest.mark.skipif(not LASTING.is_dir(), reason="there is no /var/tmp")
def test_temporary_files_lie_on_the_disk_of_spilled_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "memory"))  # not there: what is put into it fails
    monkeypatch.setattr(calibrate, "DISK_BYTES", 1 << 20)
    for named in (None, "", str(tmp_path / "nowhere")):
        monkeypatch.delenv("TMPDIR", raising=False)
        if named is not None:
            monkeypatch.setenv("TMPDIR", named)
        assert temporary_folder() == LASTING
        with folder_of_a_stream("standard input") as folder:
            assert folder.parent == LASTING
        assert calibrate._disk_speed() > 0
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert temporary_folder() == tmp_path


def test_the_folder_of_a_stream_is_private_and_one_that_was_left_behind_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    left = parts.part_name(tmp_path / "a")
    left.mkdir()
    (left / "stdin.npy").touch()
    with folder_of_a_stream("standard input") as folder:
        (folder / "stdin.npy").touch()
        assert list(tmp_path.iterdir()) == [folder]
        assert folder.stat().st_mode & 0o777 == 0o700
        parts.sweep(tmp_path)
        assert (folder / "stdin.npy").exists(), "it is in use"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_a_killed_command_copied_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    latents, place = save_latents(tmp_path / "a.npy").read_bytes(), tmp_path / "temporary"
    place.mkdir()
    words, pipe = [*COMMAND, "decode", "-", "-o", "-"], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, env=environment()) as child:
        assert child.stdin is not None
        child.stdin.write(latents[:200])
        child.stdin.flush()
        while not os.listdir(place) and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert len(list(place.iterdir())) == 1
    process(["decode", "-", "-o", "-"], input=latents)
    assert not list(place.iterdir())
