"""What a model of mflux calls, without mflux: the quality and the budget of `use` reach each decode and each encode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import pytest

from tests.support.models import FLUX2, narrow, random_latents, random_vae
from tests.support.plans import bits
from zvae_tiled import VAE, BudgetError, Sampled, Stream, Tiles
from zvae_tiled.adapters.mflux_decode import BoundedDecode
from zvae_tiled.families import VAEConfig
from zvae_tiled.inputs.latents import Latents
from zvae_tiled.planner.quality import Exact, Quality

BUDGET = "100MB"


def host(vae: VAE, quality: Quality, budget: str = BUDGET, keep: Path | None = None) -> BoundedDecode:
    return BoundedDecode(vae, SimpleNamespace(), budget, quality, keep, None)


@pytest.mark.parametrize("quality", [Tiles(64, 16), Tiles(64, 16, moments="tile"), Sampled(64), Stream()])
@pytest.mark.usefixtures("small_proxies")
def test_a_picture_is_the_one_of_a_decode_of_this_quality(quality: Quality) -> None:
    vae = random_vae(narrow("z-image", (4, 4, 8, 8)))
    latents = mx.array(random_latents(vae.config, 16, 12))
    found = host(vae, quality).decode(latents)
    exact = host(vae, Exact()).decode(latents)
    wanted = vae.decode(latents, raw=True, layout="NCHW", budget=BUDGET, quality=quality)
    assert bits(found[:, :, 0]) == bits(wanted)
    assert bits(found) != bits(exact)


def test_a_picture_of_packed_latents_is_the_one_of_a_decode_of_this_quality() -> None:
    vae, quality = random_vae(replace(FLUX2, block_out_channels=(4, 4, 8, 8))), Tiles(64, 16)
    given = random_latents(vae.config, 8, 6)
    unpacked = mx.array(given.reshape(1, -1, 2, 2, 8, 6).transpose(0, 1, 4, 2, 5, 3).reshape(1, -1, 16, 12))
    found = host(vae, quality).decode(unpacked)
    wanted = vae.decode(Latents(given, scaled=False), raw=True, layout="NCHW", budget=BUDGET, quality=quality)
    assert bits(found) == bits(wanted)
    assert bits(found) != bits(host(vae, Exact()).decode(unpacked))


@pytest.mark.parametrize("config", [narrow("z-image"), FLUX2])
def test_an_encode_beyond_the_budget_is_refused(config: VAEConfig) -> None:
    vae = random_vae(config)
    image = mx.zeros((1, 3, 64, 64))
    with pytest.raises(BudgetError, match="1 MB"):
        host(vae, Exact(), "1MB").encode(image)
    assert host(vae, Exact()).encode(image).shape[0] == 1
