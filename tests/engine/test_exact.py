"""Bands against float64: their error is not above that of the full decode, or encode.

The measure is the RMS error over a batch, divided by the RMS of the batch: the largest error depends on a single value.
Over a handful of pixels the variance can be almost zero, and dividing by it amplifies rounding in both decodes. So a
single batch is compared only if it has more pixels. Over 200 batches or more the mean ratio is compared: there the
bands are nearer to float64 than the full decode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.float64 import decode64, distribution64, encode64, ready_images, ready_latents, widened
from tests.support.models import (
    narrow,
    random_images,
    random_latents,
    random_vae,
    whole_decode,
    whole_encode,
    with_weights,
)
from tests.support.plans import plan_for, random_config
from tests.support.samples import Seeds
from zvae_tiled import VAE
from zvae_tiled.devices import workspace
from zvae_tiled.devices.mlx_cpu import kernels as mlx_rows
from zvae_tiled.devices.mlx_cpu import memory
from zvae_tiled.families import VAEConfig
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.inputs.latent_space import LatentDistribution

TWO_LEVELS = AutoencoderKLConfig(block_out_channels=(4, 4), norm_num_groups=2)
ROUNDING = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Largest relative error of one rounding."""

ENOUGH = 200
"""Random cases that a mean needs. With so many it lies at least five of its standard errors below 1."""


@dataclass(frozen=True)
class Errors:
    """RMS errors against float64, as a share of the picture's RMS."""

    bands: float
    full: float
    values: int  # different values
    pixels: int  # latents a picture

    @property
    def few(self) -> bool:
        """Whether there are too few values for the error to mean anything."""
        return self.values <= 300 or self.pixels <= 4

    def allowed(self, dtype: str) -> float:
        """Return the largest error allowed for the bands, computed from the full decode's error."""
        if dtype == "float32":
            return self.full + 4 * ROUNDING[dtype]
        # Half a rounding is that of the picture itself. In the full decode of few values it may be zero by chance.
        return 1.5 * self.full + 0.5 * ROUNDING[dtype]


def errors(vae: VAE, latents: np.ndarray, rng: Random) -> Errors:
    """Decode by a random plan, at once, and in float64."""
    want = decode64(vae, latents)
    full = widened(whole_decode(vae, ready_latents(vae, latents)))
    plan = plan_for(vae, latents.shape, rng)
    bands = widened(vae.decode(latents, plan=plan, raw=True))
    return compared(bands, full, want, latents[0, 0].size)


def encode_errors(vae: VAE, images: np.ndarray, rng: Random) -> Errors:
    """Encode by a random plan, at once, and in float64."""
    want = joined(*distribution64(vae, encode64(vae, images)))
    moments = whole_encode(vae, ready_images(vae, images))
    full = LatentDistribution.from_moments(moments, vae.config.latents, vae.weights)
    bands = vae.encode(images, plan=plan_for(vae, images.shape, rng, task="encode"))
    assert bands.mean.dtype == bands.logvar.dtype == vae.dtype
    found, whole = (joined(widened(each.mean), widened(each.logvar)) for each in (bands, full))
    return compared(found, whole, want, want[0, 0].size)


def joined(mean: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    return np.concatenate([mean, logvar], axis=1)


def compared(bands: np.ndarray, full: np.ndarray, want: np.ndarray, pixels: int) -> Errors:
    values = np.unique(want.astype(np.float32)).size
    return Errors(rms(bands - want) / rms(want), rms(full - want) / rms(want), values, pixels)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def random_decode(seed: int, dtype: str) -> Errors:
    """Decode a batch of some random size with a random decoder."""
    rng = Random(seed)
    config = random_config(rng, narrowest=4)
    height, width = random_size(rng, 24 // config.scale + 1)
    batch = min(16, -(-1200 // (height * width * config.scale**2 * config.out_channels)))
    latents = random_latents(config, height, width, batch, seed)
    return errors(random_vae(config, dtype, seed), latents, rng)


def random_encode(seed: int, dtype: str) -> Errors:
    """Encode a batch of some random size with a random encoder."""
    rng = Random(seed)
    config = random_config(rng, narrowest=4)
    height, width = random_size(rng, 24 // config.scale + 1)
    batch = min(16, -(-1200 // (height * width * 2 * config.latent_channels)))
    return encode_errors(random_vae(config, dtype, seed), random_images(config, height, width, batch, seed), rng)


def mean_ratio(found: Iterable[Errors], rounding: float) -> float:
    """Return the geometric mean of the ratios bands / full of the errors; `rounding` added to both avoids 0/0."""
    return float(np.exp(np.mean([np.log((each.bands + rounding) / (each.full + rounding)) for each in found])))


def random_size(rng: Random, longest: int) -> tuple[int, int]:
    """Rows and columns: single pixels, strips of either direction, and anything between."""
    side = rng.randint(1, longest)
    return rng.choice([(1, 1), (1, 40 // side), (40 // side, 1), (rng.randint(1, longest), side)])


RANDOM = {"decode": random_decode, "encode": random_encode}


@pytest.mark.parametrize(
    ("task", "dtype", "cases"),
    [
        ("decode", "float32", 1),
        ("decode", "bfloat16", 1),
        pytest.param("encode", "bfloat16", 2, marks=pytest.mark.slow),
        pytest.param("decode", "float16", 2, marks=pytest.mark.slow),
        *(pytest.param(task, dtype, ENOUGH, marks=pytest.mark.slow) for task in RANDOM for dtype in ROUNDING),
    ],
)
def test_bands_are_as_near_to_float64_as_all_at_once(task: str, dtype: str, cases: int, seeds: Seeds) -> None:
    found = {seed: RANDOM[task](seed, dtype) for seed in seeds(cases)}
    several = {seed: error for seed, error in found.items() if not error.few}
    assert len(several) >= cases / 3
    for seed, error in several.items():
        assert error.bands <= error.allowed(dtype), (seed, error)
    if cases >= ENOUGH:
        assert mean_ratio(found.values(), ROUNDING[dtype]) <= 1


@pytest.mark.parametrize(("task", "dtype"), list(product(RANDOM, ROUNDING)))
def test_of_each_type_bands_are_as_near_to_float64_as_all_at_once(task: str, dtype: str) -> None:
    """Of a picture so small that the default run judges all of them."""
    vae, size, rng = random_vae(TWO_LEVELS, dtype), (6, 7), Random(0)
    if task == "decode":
        error = errors(vae, random_latents(TWO_LEVELS, *size, 2), rng)
    else:
        error = encode_errors(vae, random_images(TWO_LEVELS, *size, 2), rng)
    assert not error.few
    assert error.full > 0
    assert error.bands <= error.allowed(dtype)


@pytest.mark.parametrize(("size", "dtype"), list(product([(10, 9), (2, 40)], ROUNDING)))
@pytest.mark.sample(6)
def test_of_larger_pictures_encoded_bands_are_strictly_nearer(size: tuple[int, int], dtype: str) -> None:
    config = narrow("flux1")
    error = encode_errors(random_vae(config, dtype), random_images(config, *size), Random(0))
    assert error.values > 2_000
    assert error.bands < error.full


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(
    ("config", "size"),
    [
        (narrow("flux1"), (10, 9)),
        (narrow("sd1", (6, 6, 12, 12), 3), (2, 40)),
        (narrow("sd3", (5, 5, 10, 10), 5), (40, 2)),
    ],
)
def test_on_larger_pictures_bands_are_strictly_nearer(config: VAEConfig, size: tuple[int, int], dtype: str) -> None:
    error = errors(random_vae(config, dtype), random_latents(config, *size), Random(0))
    assert error.values > 15_000
    assert error.bands < error.full


@pytest.mark.parametrize("factor", [30, 3000])
@pytest.mark.sample(2)
def test_large_means_cost_no_digits(factor: int) -> None:
    config = narrow("flux1", (8, 8, 8, 8), groups=8)  # one channel a group: no other adds to its spread
    vae = random_vae(config)
    biases = [f"{step.name}.bias" for step in config.chain("decode").steps[:-1] if step.kind == "conv"]
    vae = with_weights(vae, {name: vae.weights[name] * factor for name in biases})
    error = errors(vae, random_latents(config, 4, 5), Random(0))
    assert error.bands < min(error.full / 2, 32 * ROUNDING["float32"])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.sample(3)
def test_groups_without_any_spread_cost_no_digits(seed: int) -> None:
    """A channel of a single pixel is its own mean: a norm must give exactly its bias, without rounding left over."""
    config = AutoencoderKLConfig(block_out_channels=(6,), norm_num_groups=6)
    error = errors(random_vae(config, seed=seed), random_latents(config, 1, 1, batch=4, seed=seed), Random(seed))
    assert error.bands <= error.allowed("float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "keys", "columns"), list(product(["float32", "bfloat16"], [1, 5, 12, 1000], [1, 3, 1000]))
)
@pytest.mark.usefixtures("mlx_kernels")
def test_blocks_of_keys_and_chunks_of_columns_change_nothing(
    monkeypatch: pytest.MonkeyPatch, keys: int, columns: int, dtype: str
) -> None:
    for module in (mlx_rows, memory, workspace):
        monkeypatch.setattr(module, "KEYS_AT_ONCE", keys)
    for module in (mlx_rows, memory):
        monkeypatch.setattr(module, "ROW_CHUNK", columns)
    blocks: list[int] = []
    monkeypatch.setattr(mlx_rows._Softmax, "add", recording(mlx_rows._Softmax.add, blocks))
    config = TWO_LEVELS
    error = errors(random_vae(config, dtype), random_latents(config, 5, 7), Random(keys))
    assert error.bands <= error.full + 16 * ROUNDING["float32"]
    assert min(keys, 35) / 2 <= max(blocks) <= keys, "a row has 7 keys, the map 35"


def recording(add: Callable[..., None], blocks: list[int]) -> Callable[..., None]:
    """Note the number of keys of each call."""

    def recorded(state: Any, keys: mx.array, values: mx.array) -> None:
        blocks.append(keys.shape[0])
        add(state, keys, values)

    return recorded


@pytest.mark.slow
def test_strips_wider_than_the_real_blocks() -> None:
    config = TWO_LEVELS
    latents = random_latents(config, 1, workspace.KEYS_AT_ONCE + 52)
    error = errors(random_vae(config), latents, Random(0))
    assert error.bands < error.full
