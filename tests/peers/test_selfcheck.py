"""What `zvae selfcheck` says of diffusers: the same for the same weights, of every family, and not for others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.weights import save_random_vae
from tests.support.models import random_vae
from zvae_tiled import VAE, config_of
from zvae_tiled.cli.parity import compared

pytestmark = pytest.mark.peers

DATA = Path(__file__).parents[1] / "data"
NARROW = sorted(path.parent.name for path in DATA.glob("*/config.json"))


@pytest.mark.parametrize("name", NARROW)
def test_the_same_weights_are_the_same(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    save_random_vae(config_of(DATA / name / "config.json"), folder)
    found = compared(VAE.load(folder, "float32"), folder)
    assert found["same"], found
    assert found["largest"] < 1e-4
    assert found["psnr"] > 80


def test_other_weights_are_not(tmp_path: Path) -> None:
    config = config_of(DATA / "z-image" / "config.json")
    save_random_vae(config, tmp_path / "vae")
    assert not compared(random_vae(config, seed=5), tmp_path / "vae")["same"]


def test_what_diffusers_cannot_read_is_not_compared(tmp_path: Path) -> None:
    config = config_of(DATA / "z-image" / "config.json")
    save_random_vae(config, tmp_path / "vae")
    vae = VAE.load(tmp_path / "vae", "float32")
    assert "not a folder" in compared(vae, None)["skipped"]
    shutil.rmtree(tmp_path / "vae")
    assert compared(vae, tmp_path / "vae")["skipped"].startswith("diffusers failed with ")
