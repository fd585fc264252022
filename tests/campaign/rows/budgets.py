"""Budgets: processes that decode and encode take no more than predicted, and are predicted no more than the budget."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from benchmarks.suites.process import is_kept, measured, room_left
from benchmarks.trials import Trial, random_trial
from tests.campaign.part import Case, Part
from tests.support.models import narrow
from tests.support.plans import random_any
from zvae_tiled import Sampled, VAEConfig
from zvae_tiled.families import PRESETS
from zvae_tiled.families.pixel_space import PixelSpaceConfig

PIXELS = "pixel-space"


def trial_of(rng: Random) -> Trial:
    """A decode or an encode by a VAE of any family; in any quality, type, size, batch, output and budget."""
    trial = random_trial(rng.getrandbits(32), _vae)
    if trial.task == "decode" and rng.random() < 0.2:
        keys = rng.choice([64, 100, 1000])
        return replace(trial, quality=Sampled(keys))
    return trial


def _vae(rng: Random) -> tuple[str, VAEConfig]:
    if rng.random() < 0.2:
        preset = rng.choice(["z-image", "sd1", "sd3", "cogview4"])
        return f"narrow {preset}", narrow(preset)
    config = random_any(rng)
    return (PIXELS, PRESETS[PIXELS]) if isinstance(config, PixelSpaceConfig) else (config.class_name, config)


def attempt(case: Case) -> None:
    """One process."""
    trial = trial_of(case.rng)
    row = measured(trial, {})
    assert is_kept(row), f"{room_left(row):,} bytes left of {row.predicted_peak:,}, budget {row.budget:,}: {trial}"


PARTS = (
    Part(
        "processes",
        "processes that decode or encode, of any family, quality, type, size, batch, output and budget: memory of the "
        "process ≤ predicted ≤ budget",
        aim=1000,
        sample=5,
        attempt=attempt,
    ),
)
