"""The promise for tiles and streams: measured <= predicted <= budget, in every quality, with every tile and overlap."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from tests.quality.cases import RAMPS
from tests.support.models import random_latents, random_vae
from tests.support.plans import random_config
from tests.support.samples import Seeds
from zvae_tiled import VAE
from zvae_tiled.errors import BudgetError
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality, Stream, Tiles

pytestmark = pytest.mark.usefixtures("small_proxies")


def random_quality(rng: Random, vae: VAE) -> Quality:
    if rng.random() < 0.3:
        return Stream()
    scale = vae.config.scale
    tile = [rng.randint(3, 12) for _ in range(2)]
    found: dict[str, Any] = {"moments": rng.choice(["global", "proxy", "tile"])}
    if rng.random() < 0.8:
        found["tile"] = tuple(t * scale for t in tile)
        found["overlap"] = tuple(rng.randint(0, t * 2 // 3) * scale for t in tile)
    return Tiles(**found, ramp=rng.choice(RAMPS))


def check(seed: int) -> None:
    """Decode a random case with a random budget, at least the smallest that works."""
    rng = Random(seed)
    config = random_config(rng, narrowest=2)
    vae = random_vae(config, rng.choice(["float32", "bfloat16", "float16"]), seed)
    longest = 2 + 32 // config.scale // (2 if config.layers_per_block > 1 else 1)
    latents = random_latents(config, rng.randint(1, longest), rng.randint(1, longest), rng.choice([1, 1, 2]), seed)
    quality = random_quality(rng, vae)

    def decode(budget: str) -> Any:
        return vae.decode(latents, output_type="np", budget=budget, return_report=True, quality=quality)

    with pytest.raises(BudgetError) as refused:
        decode("1B")
    budget = PROCESS + int((refused.value.needed - PROCESS) * rng.choice([1, 1.1, 1.5, 100]))
    picture, report = decode(f"{budget}B")
    assert np.isfinite(picture).all()
    arrays = report.predicted_peak - PROCESS
    assert report.measured_peak <= arrays < report.predicted_peak <= report.budget == budget, (seed, quality, report)


@pytest.mark.parametrize("decodes", [3, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_decodes_keep_the_promise(decodes: int, seeds: Seeds) -> None:
    for seed in seeds(decodes):
        check(seed)
