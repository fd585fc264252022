"""Attention to sampled keys: same bytes for any plan, a measured error that tells the truth, a tolerance that holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.models import random_latents, random_vae
from tests.support.plans import bits, plan_for, random_config
from tests.support.samples import examples
from zvae_tiled import VAE, Sampled, read_plan
from zvae_tiled.devices.workspace import KEYS_AT_ONCE
from zvae_tiled.engine.octaves import counted
from zvae_tiled.engine.sample_error import SampleError
from zvae_tiled.errors import PlanError, ToleranceError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.plan import Plan

SLOW = pytest.mark.slow
SMALL = AutoencoderKLConfig(block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4)


SHAPES = ("block", "row", "column")


def random_size(shape: str, rng: Random, longest: int) -> tuple[int, int]:
    """Rows and columns of a map of more than 80 latents. Many rows are many bands, which take long."""
    if shape == "block":
        return rng.randint(9, longest), rng.randint(9, longest)
    length = rng.randint(81, 81 + longest)
    return (1, length) if shape == "row" else (length, 1)


@pytest.mark.parametrize("kernels", ["auto", pytest.param("mlx", marks=SLOW)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("examples", [1, pytest.param(100, marks=SLOW)])
def test_any_two_plans_give_the_same_bytes(
    kernels: str, shape: str, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)

    @settings(max_examples=examples)
    @given(st.randoms(use_true_random=False), st.sampled_from(["float32", "bfloat16"]), st.integers(0, 1 << 16))
    def check(rng: Random, dtype: str, seed: int) -> None:
        config = replace(random_config(rng), mid_block_add_attention=True)
        latents = random_latents(config, *random_size(shape, rng, 14), seed=seed)
        vae, quality = random_vae(config, dtype, seed), Sampled(rng.choice([64, 70, 80]))
        plans = [plan_for(vae, latents.shape, rng, quality=quality) for _ in range(2)]
        assert not any(plan.exact for plan in plans)
        first, second = (bits(vae.decode(latents, plan=plan, raw=True)) for plan in plans)
        assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()

    check()


@pytest.fixture(scope="module")
def decoder() -> VAE:
    return random_vae(SMALL)


def smooth(height: int, width: int) -> np.ndarray:
    """Latents that change slowly, as in pictures."""
    noise = np.random.default_rng(1).standard_normal((1, 4, height, width))
    for axis in (2, 3):
        noise = noise.cumsum(axis)
    values: np.ndarray = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    return values


def test_as_many_keys_as_pixels_are_exact(decoder: VAE) -> None:
    latents = smooth(8, 9)
    found, report = decoder.decode(latents, quality=Sampled(72), return_report=True)
    assert (report.exact, report.sampled, report.expected_error) == (True, (), "rounding")
    assert bits(found) == bits(decoder.decode(latents))
    with pytest.raises(PlanError, match="keys must be 64 to"):
        Sampled(63)


def test_keys_are_counted_block_by_block_and_the_crop_keeps_the_disk_limit(
    decoder: VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy counts in eight bytes a key, which no plan has room for. The decode of the crop has a plan of its own."""
    sizes: list[int] = []
    plans: list[Plan] = []

    def counting(classes: np.ndarray) -> np.ndarray:
        sizes.append(len(classes))
        return counted(classes)

    def planning(*args: Any, **options: Any) -> Plan:
        plans.append(make_plan(*args, **options))
        return plans[-1]

    monkeypatch.setattr("zvae_tiled.engine.sampled.counted", counting)
    monkeypatch.setattr("zvae_tiled.jobs.amplified.make_plan", planning)
    decoder.decode(smooth(60, 50), quality=Sampled(64), disk_limit=0)
    assert sum(sizes) == 3000
    assert max(sizes) <= KEYS_AT_ONCE
    assert [plan.storage.limit for plan in plans] == [0]


def test_the_error_is_measured_and_falls_with_more_keys(decoder: VAE) -> None:
    latents = smooth(40, 30)
    exact, errors = np.asarray(decoder.decode(latents, raw=True)), []
    for keys in (64, 300, 1100):
        found, report = decoder.decode(latents, raw=True, quality=Sampled(keys), return_report=True)
        (measured,) = report.sampled
        assert measured.kept <= keys < measured.keys == 1200
        assert not report.exact
        assert 0 < measured.rms <= measured.largest
        assert measured.rms < 0.2
        assert report.to_dict()["sampled"][0]["rms"] == measured.rms
        assert f"{measured.kept:,} of 1,200 keys" in str(report)
        errors.append((measured.rms, float(np.sqrt(np.square(np.asarray(found) - exact).mean()))))
    assert errors[0][0] > 3 * errors[1][0] > 9 * errors[2][0], "the measured error"
    assert errors[0][1] > 3 * errors[1][1] > 9 * errors[2][1], "the true one"
    factors = [true / measured for measured, true in errors]
    assert max(factors) < 5 * min(factors), "one goes with the other"


def self_seeking() -> VAE:
    """A VAE with an attention in which every query seeks its own key, and adds much to the map."""
    vae = random_vae(AutoencoderKLConfig(block_out_channels=(64,), latent_channels=4, norm_num_groups=4))
    weights = dict(vae.weights)
    name = next(step.name for step in vae.config.chain("decode").steps if step.kind == "attention")
    same = mx.eye(weights[f"{name}.to_q.weight"].shape[0])
    weights |= {f"{name}.{layer}.weight": 8 * same for layer in ("to_q", "to_k")}
    weights |= {f"{name}.{layer}.weight": same for layer in ("to_v", "to_out.0")}
    return VAE(vae.config, weights, vae.dtype)


def test_attention_that_nobody_can_sample_is_caught() -> None:
    vae, latents = self_seeking(), random_latents(SMALL, 24, 24)
    report = vae.decode(latents, quality=Sampled(72), return_report=True)[1]
    assert report.sampled[0].rms > 0.2
    rows = vae.stream(latents, quality=Sampled(72, tolerance=0.02))
    with pytest.raises(ToleranceError, match="is off by") as error:
        next(rows)
    assert error.value.needed == 576
    assert 'Take quality="exact"' in str(error.value)


@given(st.integers(64, 1 << 18), st.floats(0.5, 1), st.floats(1.001, 1.5))
@example(131_072, 0.97, 1.01)
@examples(20)
def test_the_number_of_keys_to_take_is_larger_than_the_one_that_failed(asked: int, share: float, over: float) -> None:
    """Fewer keys are kept than were asked for, so a little more than those that are kept may be the same number."""
    error = SampleError(int(share * asked), 1 << 20, 100, rms=0.01 * over, most=0.02, largest=0.03)
    with pytest.raises(ToleranceError) as refused:
        error.check(0.01, asked)
    assert refused.value.needed > asked
    assert refused.value.needed >= error.kept * over**2
    Sampled(refused.value.needed)


@pytest.mark.slow
def test_a_tolerance_names_the_keys_to_take(decoder: VAE) -> None:
    latents = smooth(40, 30)
    few = decoder.decode(latents, quality=Sampled(64), return_report=True)[1].sampled[0]
    assert decoder.decode(latents, quality=Sampled(64, few.rms * 1.001), return_report=True)[1].sampled == (few,)
    tolerance = few.rms / 3
    with pytest.raises(ToleranceError, match="Take Sampled") as error:
        decoder.decode(latents, quality=Sampled(64, tolerance))
    enough = Sampled(error.value.needed, tolerance)
    assert decoder.decode(latents, quality=enough, return_report=True)[1].sampled[0].rms <= tolerance


def test_a_batch_has_an_error_for_each_picture_and_a_stream_is_the_same(decoder: VAE) -> None:
    latents, quality = np.concatenate([smooth(12, 10), smooth(12, 10)[:, ::-1]]), Sampled(70)
    found, report = decoder.decode(latents, quality=quality, return_report=True)
    first, second = report.sampled
    assert first != second
    job = decoder.prepare(latents, quality=quality)
    rows = mx.concatenate([rows[0] for rows in job.rows()])
    assert job.report is not None
    assert job.report.sampled == report.sampled
    assert bits(rows.reshape(found.shape)) == bits(found)


def test_a_saved_plan_keeps_its_sample(decoder: VAE) -> None:
    latents = smooth(12, 10)
    found, report = decoder.decode(latents, quality=Sampled(70, 0.9), return_report=True)
    again = read_plan(report.plan.to_json())
    assert again.digest == report.plan.digest
    assert (again.quality, again.exact, again.sampled) == (Sampled(70, 0.9), False, 70)
    assert bits(decoder.decode(latents, plan=again)) == bits(found)


def test_it_cannot_go_on_after_a_crash(decoder: VAE) -> None:
    with pytest.raises(PlanError, match='quality="sampled" cannot go on after a crash'):
        decoder.plan(80, 80, quality=Sampled(64), work=True)
