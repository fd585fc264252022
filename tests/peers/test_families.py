"""The tools of the race of families: decode and encode beside diffusers, with weights saved once in its names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.case import Case, Files
from benchmarks.images import images_of
from benchmarks.suites.families import PRESETS
from benchmarks.weights import save_random_vae
from tests.support.models import random_latents
from zvae_tiled import VAE

pytestmark = pytest.mark.peers

DATA = Path(__file__).parents[1] / "data"
NARROW = sorted(path.parent.name for path in DATA.glob("*/config.json"))
TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""


def check(family: str, folder: Path) -> None:
    import torch

    from benchmarks.tools.torch_latents import scaled, unscaled
    from benchmarks.tools.torch_vae import encoded, loaded, whole

    case = Case("families", "diffusers_full", 64, 96, "float32", family)
    config = case.config
    save_random_vae(config, folder / "vae")
    theirs = loaded(case, Files(model=str(folder / "vae")))
    latents = random_latents(config, case.height // config.cell, case.width // config.cell)
    images = images_of(case)
    with torch.inference_mode():
        picture = whole(theirs)(unscaled(torch.from_numpy(latents), theirs)).permute(0, 2, 3, 1).numpy()
        read = torch.from_numpy(images * 2 - 1).permute(0, 3, 1, 2)
        mean = scaled(encoded(theirs, read), theirs).numpy()
    ours = VAE.load(folder / "vae", "float32", decoder_only=False)
    assert abs(ours.decode(latents, "np", raw=True) - picture).max() < TOLERANCE * picture.std()
    assert abs(np.asarray(ours.encode(images).mode()) - mean).max() < TOLERANCE * mean.std()


@pytest.mark.parametrize("name", NARROW)
def test_narrow_models(name: str, tmp_path: Path) -> None:
    check(str(DATA / name / "config.json"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_published_width(preset: str, tmp_path: Path) -> None:
    check(preset, tmp_path)
