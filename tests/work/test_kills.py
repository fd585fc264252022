"""Decodes that are killed at random rows go on there, and write the bytes of one that was not killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import save_latents, save_vae


@pytest.mark.slow
@pytest.mark.parametrize("kills", [20, 200])  # CI runs the 20
def test_killed_decodes_write_the_same_bytes(kills: int, tmp_path: Path) -> None:
    save_vae(tmp_path / "vae")
    save_latents(tmp_path / "latents.npy", 20, 9)
    command = [sys.executable, "-m", "tests.work.kills", str(tmp_path), str(kills), "0"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout.split()[-1]) >= kills
