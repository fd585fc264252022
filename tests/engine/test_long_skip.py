"""A skip around more Steps than a resnet has: bands carry it through every Step between."""

from __future__ import annotations

from random import Random

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import random_tensors
from tests.support.plans import random_plan
from tests.support.samples import examples
from tests.support.toys import LongSkip
from zvae_tiled import VAE
from zvae_tiled.chain.whole import run_whole


@given(st.integers(0, 1 << 32))
@examples(20)
def test_any_bands_give_what_whole_maps_give(seed: int) -> None:
    config, rng = LongSkip(), Random(seed)
    chain, height, width = config.chain("decode"), rng.randint(1, 24), rng.randint(1, 24)
    weights = {name: mx.array(values) for name, values in random_tensors(chain.shapes).items()}
    latents = np.random.default_rng(seed).standard_normal((1, 4, height, width)).astype(np.float32)
    plan = random_plan(config, height, width, "float32", rng)
    bands = VAE(config, weights, mx.float32).decode(latents, plan=plan, raw=True)
    whole = run_whole(chain, weights, mx.array(latents).transpose(0, 2, 3, 1))
    assert mx.abs(bands - whole).max() < 1e-4 * (1 + mx.abs(whole).max())
