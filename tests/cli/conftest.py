"""A folder to work in, with a VAE that ``$ZVAE_VAE`` names and latents in two files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.running import save_latents, save_vae


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test."""
    save_latents(tmp_path / "a.npy")
    save_latents(tmp_path / "b.npy", 5, 8, seed=1)
    monkeypatch.setenv("ZVAE_VAE", str(save_vae(tmp_path / "vae")))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
