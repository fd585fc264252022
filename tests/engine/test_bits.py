"""On the CPU any two exact plans give the same bytes, decoded or encoded; so do a batch, a stream and a file."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path
from random import Random

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.models import narrow, random_images, random_latents, random_vae
from tests.support.plans import TASKS, bits, plan_for, random_config, random_plan, with_rows
from zvae_tiled import VAE, Plan
from zvae_tiled.families import Task, VAEConfig
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig

DTYPES = ["float32", "bfloat16", "float16"]
SLOW = pytest.mark.slow
BROAD = AutoencoderKLConfig(block_out_channels=(32, 64), latent_channels=16)
"""Wide enough that a BLAS may choose its kernel, or its number of threads, by the shape of a product."""


def digest(vae: VAE, given: np.ndarray, plan: Plan) -> str:
    """Return a hash of the decoder's own values, or of an encode's mean and log-variance."""
    if plan.case.task == "encode":
        found = vae.encode(given, plan=plan)
        values = mx.concatenate([found.mean, found.logvar])
    else:
        values = vae.decode(given, plan=plan, raw=True)
    assert values.dtype == vae.dtype
    return hashlib.sha256(bits(values)).hexdigest()


@pytest.mark.parametrize(
    ("task", "examples"),
    [("decode", 3), ("encode", 3), *(pytest.param(task, 300, marks=SLOW) for task in TASKS)],
)
def test_any_two_plans_give_the_same_bytes(task: Task, examples: int) -> None:
    @settings(max_examples=examples)
    @given(
        st.randoms(use_true_random=False), st.sampled_from(DTYPES), st.integers(0, 1 << 16), st.sampled_from([2, 1, 3])
    )
    def check(rng: Random, dtype: str, seed: int, batch: int) -> None:
        config = random_config(rng)
        longest = 24 // config.scale + 1
        made = random_latents if task == "decode" else random_images
        given = made(config, rng.randint(1, longest), rng.randint(1, longest), batch, seed)
        vae = random_vae(config, dtype, seed)
        first, second = (plan_for(vae, given.shape, rng, task=task) for _ in range(2))
        assert digest(vae, given, first) == digest(vae, given, second)

    check()


@pytest.mark.parametrize("examples", [2, pytest.param(60, marks=SLOW)])
@pytest.mark.parametrize(("case", "dtype"), list(product([(BROAD, (7, 37)), (narrow("z-image"), (3, 5))], DTYPES)))
@pytest.mark.sample(2)
def test_any_plan_gives_the_bytes_of_whole_maps(
    case: tuple[VAEConfig, tuple[int, int]], dtype: str, examples: int
) -> None:
    config, size = case
    vae, latents, rng = random_vae(config, dtype), random_latents(config, *size), Random(0)
    whole = with_rows(plan_for(vae, latents.shape, rng, ("ram",)), size[0] * config.scale)
    want = digest(vae, latents, whole)
    for _ in range(examples):
        assert digest(vae, latents, plan_for(vae, latents.shape, rng)) == want


def test_rows_by_rows_gives_the_bytes_of_whole_maps() -> None:
    vae, latents = random_vae(BROAD, "bfloat16"), random_latents(BROAD, 5, 9)
    plan = plan_for(vae, latents.shape, Random(0))
    assert digest(vae, latents, with_rows(plan, 1)) == digest(vae, latents, plan)


def test_the_bytes_hang_on_every_input() -> None:
    """The hash depends on every latent."""
    vae, latents = random_vae(BROAD), random_latents(BROAD, 5, 9)
    plan = plan_for(vae, latents.shape, Random(0))
    other = latents.copy()
    other[0, 3, 2, 1] *= 1.0001
    assert digest(vae, latents, plan) != digest(vae, other, plan)


def test_random_plans_use_everything_there_is() -> None:
    """The properties above would prove little if all plans were alike."""
    config, rng = narrow("flux1"), Random(0)
    sweeps = [sweep for _ in range(60) for sweep in random_plan(config, 6, 6, "float32", rng).sweeps]
    middle = [sweep for sweep in sweeps if sweep.ends == "moments"]
    assert {sweep.choice for sweep in middle} == {"keep", "spill", "drop"}
    assert {sweep.choice for sweep in sweeps if sweep.ends == "keys"} == {"keep", "spill"}
    assert any(sweep.store == sweep.stop - 1 for sweep in middle)
    steps = config.chain("decode").steps
    assert any(sweep.store is not None and steps[sweep.store].skip for sweep in middle)  # inside a resnet
    passed = {cut for sweep in sweeps for cut in range(sweep.start + 1, sweep.stop)}
    # Only the attention's own map is always stored.
    assert passed >= {cut for cut, step in enumerate(steps) if step.norm and step.kind == "conv"}
    assert {sweep.rows == 1 for sweep in sweeps} == {True, False}


@pytest.mark.parametrize(
    "dtype", ["bfloat16", *(pytest.param(each, marks=SLOW) for each in DTYPES if each != "bfloat16")]
)
def test_a_picture_of_a_batch_is_the_picture_alone(dtype: str) -> None:
    config, rng = narrow("sd1"), Random(0)
    vae, latents = random_vae(config, dtype), random_latents(config, 2, 3, batch=2)
    together = vae.decode(latents, plan=plan_for(vae, latents.shape, rng), raw=True)
    for i in range(2):
        alone = vae.decode(latents[i : i + 1], plan=plan_for(vae, (1, *latents.shape[1:]), rng), raw=True)
        assert bits(together[i : i + 1]) == bits(alone)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_encoded_a_picture_of_a_batch_is_the_picture_alone_and_bytes_are_their_floats(dtype: str) -> None:
    config, rng = narrow("sd1"), Random(0)
    vae = random_vae(config, dtype)
    images = (255 * random_images(config, 2, 3, batch=2)).astype(np.uint8)
    together = vae.encode(images, plan=plan_for(vae, images.shape, rng, task="encode"))
    for i in range(2):
        alone = vae.encode(images[i] / np.float32(255), plan=plan_for(vae, (1, *images.shape[1:]), rng, task="encode"))
        assert bits(together.mean[i : i + 1]) == bits(alone.mean)
        assert bits(together.logvar[i : i + 1]) == bits(alone.logvar)


@pytest.mark.parametrize(
    ("dtype", "batch"),
    [("float32", 1), *(pytest.param(dtype, 2, marks=SLOW) for dtype in DTYPES)],
)
def test_array_stream_and_file_hold_the_same_bytes(dtype: str, batch: int, tmp_path: Path) -> None:
    vae, latents = random_vae(BROAD, dtype), random_latents(BROAD, 3, 4, batch=batch)
    plans = [plan_for(vae, latents.shape, Random(seed)) for seed in range(6)]
    want = vae.decode(latents, plan=plans[0])
    assert want.dtype == mx.float32
    assert bits(vae.decode(mx.array(latents), plan=plans[1])) == bits(want)
    assert vae.decode(latents, plan=plans[2], output_type="np").tobytes() == bits(want)
    rows = list(vae.stream(latents, plan=plans[3]))
    assert bits(mx.concatenate(rows, axis=1)) == bits(want)  # picture below picture: the order of memory
    vae.decode_to_file(latents, tmp_path / "picture.npy", plan=plans[4])
    files = sorted(tmp_path.iterdir())
    assert len(files) == batch
    assert b"".join(np.load(file).tobytes() for file in files) == bits(want)
    raw = mx.concatenate(list(vae.stream(latents, plan=plans[5], raw=True)), axis=1)
    assert bits(raw) == bits(vae.decode(latents, plan=plans[0], raw=True))


def test_a_planned_decode_gives_the_bytes_of_any_other() -> None:
    vae, latents = random_vae(BROAD), random_latents(BROAD, 12, 9)
    plan = vae.plan(24, 18, budget="1GB")
    tight = vae.plan(24, 18, budget=f"{plan.predicted_peak - 1}B")
    assert tight.sweeps != plan.sweeps
    want = digest(vae, latents, plan)
    assert digest(vae, latents, tight) == digest(vae, latents, plan_for(vae, latents.shape, Random(0))) == want
