"""Rows that belong together are convolved together, from one multiple of the grain to another, whatever the plan."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.grains import compute_by_grains, give_grains, grain_of
from tests.support.models import pipelines, random_images, random_latents, random_vae
from tests.support.plans import TASKS, bits, plan_for, random_any, random_plan, with_rows
from tests.support.samples import examples
from zvae_tiled.chain import Step
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.families import Task
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.case import ITEMSIZES
from zvae_tiled.planner.quality import Statistics, Tiles

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, latent_channels=3)
rngs = st.integers(0, 1 << 32).map(Random)  # Hypothesis' own draw numbers that no config may hold

dtypes = st.sampled_from(sorted(ITEMSIZES))


class Case:
    """A random VAE of any family, and what it decodes or encodes."""

    def __init__(self, rng: Random, dtype: str, task: Task) -> None:
        self.config, seed = random_any(rng), rng.randint(0, 1 << 16)
        self.rng, self.task, self.dtype = rng, task, dtype
        self.cells = rng.randint(1, 24 // self.config.cell + 2), rng.randint(1, 3)
        made = pipelines if task == "decode" else random_images
        self.vae, self.given = random_vae(self.config, dtype, seed), made(self.config, *self.cells, 1, seed)

    def bytes(self) -> bytes:
        """The bytes that a random plan gives."""
        height, width = (self.config.latents.patch * count for count in self.cells)
        plan = random_plan(self.config, height, width, self.dtype, self.rng, task=self.task)
        if self.task == "decode":
            return bits(self.vae.decode(self.given, plan=plan, raw=True))
        found = self.vae.encode(self.given, plan=plan)
        return bits(found.mean) + bits(found.logvar)


@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.sample(2)
def test_kernels_that_compute_whole_grains_give_the_same_bytes_in_any_plan(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_grains(monkeypatch)
    compute_by_grains(monkeypatch)

    @examples(10)
    @given(rngs, dtypes)
    def check(rng: Random, dtype: str) -> None:
        case = Case(rng, dtype, task)
        assert case.bytes() == case.bytes()

    check()


@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.slow
def test_the_bytes_of_such_kernels_show_where_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would prove little if they did not."""
    compute_by_grains(monkeypatch)
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 9, 4)
    plan = plan_for(vae, latents.shape, Random(0))
    by_three, whole = (bits(vae.decode(latents, plan=with_rows(plan, rows), raw=True)) for rows in (3, 18))
    assert by_three != whole
    give_grains(monkeypatch)
    assert bits(vae.decode(latents, plan=with_rows(plan, 3), raw=True)) == whole


@pytest.mark.parametrize("task", TASKS)
def test_kernels_that_need_no_grains_compute_the_same_with_them(task: Task) -> None:
    @examples(10)
    @given(rngs, dtypes)
    def check(rng: Random, dtype: str) -> None:
        case = Case(rng, dtype, task)
        want = case.bytes()
        with pytest.MonkeyPatch.context() as patch:
            give_grains(patch)
            assert case.bytes() == want

    check()


@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.parametrize("moments", ["tile", pytest.param("global", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_tiles_have_grains_of_their_own(moments: Statistics, monkeypatch: pytest.MonkeyPatch) -> None:
    give_grains(monkeypatch)
    compute_by_grains(monkeypatch)
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 11, 3)
    quality = Tiles(12, 2, moments=moments)
    plan = vae.plan(22, 6, quality=quality, budget="1GB")
    stages = tuple(
        replace(stage, sweeps=tuple(replace(sweep, rows=min(sweep.rows, 3)) for sweep in stage.sweeps))
        for stage in plan.stages
    )
    low = replace(plan, stages=stages)
    assert low != plan
    assert bits(vae.decode(latents, plan=low)) == bits(vae.decode(latents, plan=plan))


MENDED = ("decoder.conv_in", "decoder.up_blocks.0.resnets.0.conv2", "decoder.up_blocks.0.upsamplers.0.conv")
"""A plain Step, one that adds a skip, and one that doubles."""


class Faulty:
    """MLX's kernels, whose first `times` results of one Step are zeros. It notes the rows of each call."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str) -> None:
        self.times = 0
        self.rows: list[int] = []
        convolve = RowKernels.conv

        def convolved(kernels: RowKernels, step: Step, weights: Any, pieces: Any, skip: Any) -> mx.array:
            out = convolve(kernels, step, weights, pieces, skip)
            if step.name != name:
                return out
            self.rows.append(step.gives(len(pieces)))
            if len(self.rows) > self.times:
                return out
            kernels._extent = np.zeros_like(kernels._extent)
            return mx.zeros_like(out)

        patch.setattr(RowKernels, "conv", convolved)


@pytest.mark.usefixtures("mlx_kernels")
@pytest.mark.parametrize("name", MENDED)
@pytest.mark.sample(3)
def test_a_flawed_result_is_computed_again_by_whole_grains(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give_grains(monkeypatch)
    compute_by_grains(monkeypatch)
    device = Faulty(monkeypatch, name)
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 9, 6)
    plan = with_rows(plan_for(vae, latents.shape, Random(3)), 18)
    want = bits(vae.decode(latents, plan=plan, raw=True))
    first, grain = device.rows[0], grain_of(next(step for step in CONFIG.chain("decode").steps if step.name == name))
    device.rows, device.times = [], 1
    assert bits(vae.decode(latents, plan=plan, raw=True)) == want
    again = device.rows[1 : 1 + -(-first // grain)]
    assert sum(again) == first > grain
    assert set(again[:-1]) == {grain}
    device.rows, device.times = [], 2
    with pytest.raises(SilentFailureError, match=name):
        vae.decode(latents, plan=plan, raw=True)
