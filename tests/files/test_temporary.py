"""Temporary files lie where maps are spilled, and never in a /tmp that may be memory while there is a disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from zvae_tiled.cli.temporary import temporary_folder as folder_of_a_stream
from zvae_tiled.devices import calibrate
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
