"""The promise for tiles and streams: measured <= predicted <= budget, whatever was asked for."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from tests.models import random_latents, random_vae
from tests.plans import random_config
from tests.quality.cases import RAMPS
from zvae_tiled import VAE
from zvae_tiled.errors import BudgetError
from zvae_tiled.plan import quality
from zvae_tiled.plan.ends import PROCESS


def random_request(rng: Random, vae: VAE) -> dict[str, Any]:
    if rng.random() < 0.3:
        return {"quality": "stream"}
    scale = vae.config.scale
    tile = [rng.randint(3, 12) for _ in range(2)]
    found: dict[str, Any] = {"quality": "tiles", "moments": rng.choice(["global", "proxy", "tile"])}
    if rng.random() < 0.8:
        found["tile"] = tuple(t * scale for t in tile)
        found["overlap"] = tuple(rng.randint(0, t * 2 // 3) * scale for t in tile)
    return {**found, "ramp": rng.choice(RAMPS)}


def check(seed: int) -> None:
    """Decode what a seed gives with a budget from the smallest that works up."""
    rng = Random(seed)
    config = random_config(rng, narrowest=2)
    vae = random_vae(config, rng.choice(["float32", "bfloat16", "float16"]), seed)
    longest = 2 + 32 // config.scale // (2 if config.layers_per_block > 1 else 1)
    latents = random_latents(config, rng.randint(1, longest), rng.randint(1, longest), rng.choice([1, 1, 2]), seed)
    asked = random_request(rng, vae)

    def decode(budget: str) -> Any:
        return vae.decode(latents, "NCHW", output_type="np", budget=budget, return_report=True, **asked)

    with pytest.raises(BudgetError) as refused:
        decode("1B")
    budget = PROCESS + int((refused.value.needed - PROCESS) * rng.choice([1, 1.1, 1.5, 100]))
    picture, report = decode(f"{budget}B")
    assert np.isfinite(picture).all()
    arrays = report.predicted_peak - PROCESS
    assert report.measured_peak <= arrays < report.predicted_peak <= report.budget == budget, (seed, asked, report)


@pytest.fixture(autouse=True)
def small_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "PROXY", 6)


@pytest.mark.parametrize("tens", range(5))
def test_fifty_random_decodes_keep_the_promise(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("fifties", range(1, 20))
def test_a_thousand_random_decodes_keep_the_promise(fifties: int) -> None:
    for seed in range(50 * fifties, 50 * fifties + 50):
        check(seed)
