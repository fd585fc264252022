"""RMS norms: bands, tiles and streams are exact without any pass for statistics."""

from __future__ import annotations

from random import Random

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.native import PATHS
from tests.support.models import random_tensors
from tests.support.plans import bits, random_plan
from tests.support.samples import examples
from tests.support.toys import PixelNorms
from zvae_tiled import VAE, Tiles
from zvae_tiled.chain.whole import rms_norm, run_whole
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality

CONFIG = PixelNorms()
CHAIN = CONFIG.chain("decode")


def vae(dtype: mx.Dtype = mx.float32) -> VAE:
    tensors = random_tensors(CHAIN.shapes)
    return VAE(CONFIG, {name: mx.array(values).astype(dtype) for name, values in tensors.items()}, dtype)


def latents(height: int, width: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(height).standard_normal((batch, 4, height, width)).astype(np.float32)


def whole(model: VAE, given: np.ndarray) -> mx.array:
    return run_whole(CHAIN, model.weights, mx.array(given).transpose(0, 2, 3, 1).astype(model.dtype))


def test_the_attention_is_the_only_barrier() -> None:
    assert CHAIN.barriers == (1,)
    assert [step.gathers for step in CHAIN.steps if step.barrier] == [("moments", "keys")]


def test_the_reference_divides_each_pixel_by_its_length() -> None:
    x, gamma = np.random.default_rng(0).standard_normal((1, 3, 5, 8)), np.linspace(0.5, 2, 8)
    norm = CHAIN.steps[1].norm
    assert norm is not None
    got = rms_norm(mx.array(x.astype(np.float32)), norm, {"norm0.gamma": mx.array(gamma.astype(np.float32))})
    want = x / np.sqrt(np.square(x).sum(-1, keepdims=True)) * np.sqrt(8) * gamma
    assert np.abs(np.asarray(got) - want).max() < 1e-6
    zeros = rms_norm(mx.zeros((1, 1, 1, 8)), norm, {"norm0.gamma": mx.array(gamma.astype(np.float32))})
    assert not np.asarray(zeros).any()


@pytest.mark.parametrize("kernels", ["mlx", *PATHS])
@given(st.integers(0, 1 << 32))
@examples(20)
@pytest.mark.sample(2)
def test_any_bands_give_what_whole_maps_give(kernels: str, seed: int) -> None:
    rng, model = Random(seed), vae()
    height, width = rng.randint(1, 24), rng.randint(1, 24)
    given = latents(height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZVAE_KERNELS", kernels)
        plans = [random_plan(CONFIG, height, width, "float32", rng) for _ in range(2)]
        first, second = (model.decode(given, plan=plan, raw=True) for plan in plans)
    assert bits(first) == bits(second)
    want = whole(model, given)
    assert mx.abs(first - want).max() < 1e-4 * (1 + mx.abs(want).max())


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("quality", ["stream", Tiles(32), Tiles(32, moments="proxy")], ids=str)
def test_tiles_and_streams_need_no_statistics(quality: str | Quality, dtype: mx.Dtype) -> None:
    model, given = vae(dtype), latents(40, 33)
    exact = model.decode(given, raw=True)
    tiles, report = model.decode(given, raw=True, quality=quality, return_report=True)
    assert report.exact
    assert [stage.name for stage in report.plan.stages] == ["middle", "pixels"]
    assert mx.abs(tiles - exact).max() <= (1e-6 if dtype == mx.float32 else 0.02) * mx.abs(exact).max()


def test_tiles_with_an_attention_of_their_own_are_not_exact() -> None:
    model, given = vae(), latents(40, 33)
    exact = model.decode(given, raw=True)
    tiles, report = model.decode(given, raw=True, quality=Tiles(32, moments="tile"), return_report=True)
    assert not report.exact
    assert mx.abs(tiles - exact).max() > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_decode_stays_below_its_prediction(dtype: str) -> None:
    model, given = vae(mx.float32 if dtype == "float32" else mx.bfloat16), latents(90, 70)
    for budget in ("1GB", f"{model.plan(180, 140, '1GB').predicted_peak - 1}B"):
        report = model.decode(given, budget=budget, return_report=True)[1]
        assert report.measured_peak <= report.predicted_peak - PROCESS
