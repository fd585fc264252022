"""Any two budgets write the same file. Neither the budget nor the free memory is in the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.support.models import random_latents, random_vae
from zvae_tiled import VAE
from zvae_tiled.errors import BudgetError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.budget import Available
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality, Tiles

CONFIG = AutoencoderKLConfig(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4)
KINDS = ("png", "tiff", "ptif", "webp", "npy", "safetensors")


@pytest.fixture(scope="module")
def vae() -> VAE:
    return random_vae(CONFIG)


@pytest.fixture(scope="module")
def latents() -> np.ndarray:
    return random_latents(CONFIG, 60, 22)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


OTHERS: list[str | Quality] = ["stream", Tiles(64, 16), Tiles(64, 8, moments="tile")]


@pytest.mark.parametrize(
    ("kind", "quality"), [*((kind, "exact") for kind in KINDS), *(("png", quality) for quality in OTHERS)], ids=str
)
@pytest.mark.sample(4)
def test_budgets_are_not_in_the_file(
    vae: VAE, latents: np.ndarray, tmp_path: Path, kind: str, quality: str | Quality
) -> None:
    path, found, plans = tmp_path / f"a.{kind}", set(), set()
    with pytest.raises(BudgetError) as refused:
        vae.decode_to_file(latents, path, budget="1B", quality=quality)
    more = PROCESS + int(1.1 * (refused.value.needed - PROCESS))
    for budget in (f"{refused.value.needed}B", f"{more}B", "1GB", None):
        report = vae.decode_to_file(latents, path, budget=budget, quality=quality)
        found.add(digest(path))
        plans.add(tuple(sweep.executed for sweep in report.plan.sweeps))
    assert len(plans) > 1, "the budgets are so different that other sweeps are chosen"
    assert len(found) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sample(4)
def test_free_memory_is_not_in_the_file(
    vae: VAE, latents: np.ndarray, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decodes without a budget, between which the free memory has changed."""
    found, budgets = set(), set()
    for free in (4_000_000_000, 4_000_004_096, 24_000_000):
        monkeypatch.setattr(
            "zvae_tiled.jobs.job.available", dict.fromkeys([vae.weight_bytes], Available(free)).__getitem__
        )
        report = vae.decode_to_file(latents, tmp_path / f"a.{kind}")
        found.add(digest(tmp_path / f"a.{kind}"))
        budgets.add(report.budget)
    assert len(budgets) == 3
    assert len(found) == 1


def test_another_quality_is_in_the_file(vae: VAE, latents: np.ndarray, tmp_path: Path) -> None:
    vae.decode_to_file(latents, tmp_path / "a.png")
    vae.decode_to_file(latents, tmp_path / "b.png", quality=OTHERS[-1])
    assert b"zvae_quality" in (tmp_path / "a.png").read_bytes()
    assert b"tiles, not exact: moments and middle block of each tile by itself" in (tmp_path / "b.png").read_bytes()
    assert b"zvae_plan" not in (tmp_path / "a.png").read_bytes()
