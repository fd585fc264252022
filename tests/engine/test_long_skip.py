"""A skip around more Steps than a resnet has: bands carry it through every Step between."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import mlx.core as mx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import random_tensors
from tests.support.plans import random_plan
from tests.support.samples import examples
from zvae_tiled import VAE
from zvae_tiled.chain import DOUBLE, Chain, Norm, Skip, Step
from zvae_tiled.chain.whole import run_whole
from zvae_tiled.families.base import LatentConvention, Task, VAEConfig


@dataclass(frozen=True)
class LongSkip(VAEConfig):
    """A decoder with a skip around four convolutions, two of them behind norms."""

    class_name: ClassVar[str] = "LongSkip"
    in_channels: int = 3
    latent_channels: int = 4
    out_channels: int = 3

    @property
    def scale(self) -> int:
        """One doubling."""
        return 2

    @property
    def latents(self) -> LatentConvention:
        """Latents as they are."""
        return LatentConvention(4)

    def chain(self, task: Task) -> Chain:
        """The decoder's, whatever the task."""
        del task
        normed = [
            Step(name, "conv", 8, 8, norm=Norm(f"{name}_norm", 2), activation="silu") for name in ("second", "third")
        ]
        first, last = Step("first", "conv", 6, 8, opens=True), Step("last", "conv", 8, 8, closes=Skip(6, "wider"))
        up = Step("up", "conv", 8, 3, resample=DOUBLE)
        return Chain((Step("in", "conv", 4, 6), first, *normed, last, up), middle=5)


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
