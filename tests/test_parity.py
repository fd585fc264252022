"""Decode and encode equal diffusers' results: golden values, made by ``tests/data/make_golden*.py``."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.data import FULL_SIZES, KIN_SIZES, SIZES
from tests.support.checkpoints import vae_rows
from tests.support.models import PRESETS, narrow, random_vae
from zvae_tiled import VAE, Latents
from zvae_tiled.families import config_of

DATA = Path(__file__).parent / "data"
CASES = ["x".join(map(str, size)) for size in SIZES]
KIN = ("sana", "hunyuan-image-2.1", "qwen-image-2.1", "wan2.2")
KIN_CASES = [
    pytest.param("x".join(map(str, size)), preset, marks=pytest.mark.slow if size != KIN_SIZES[0] else ())
    for size in KIN_SIZES
    for preset in KIN
]
TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""


@cache
def golden(preset: str) -> dict[str, np.ndarray]:
    return load_file(DATA / f"golden_{preset}.safetensors")


@cache
def loaded(preset: str) -> VAE:
    return VAE.load(DATA / preset, dtype="float32", decoder_only=False)


def error(got: Any, want: np.ndarray) -> float:
    return float(np.abs(np.asarray(got, np.float64) - want).max() / want.std(dtype=np.float64))


def check_decode(vae: VAE, values: dict[str, np.ndarray], case: str) -> None:
    want = values[f"decoded.{case}"].transpose(0, 2, 3, 1)
    raw = vae.decode(values[f"latents.{case}"], output_type="np", raw=True)
    assert error(raw, want) < TOLERANCE
    picture = vae.decode(values[f"latents.{case}"], output_type="np")
    assert picture.dtype == np.float32
    assert error(picture, np.clip(want / 2 + 0.5, 0, 1)) < TOLERANCE


def check_encode(vae: VAE, values: dict[str, np.ndarray], case: str) -> None:
    convention = vae.config.latents
    shift = np.array(convention.mean or convention.shift)[..., None, None]
    scale = np.array([convention.scaling / std for std in convention.std] or convention.scaling)[..., None, None]
    posterior = vae.encode(values[f"images.{case}"].transpose(0, 2, 3, 1))
    mean = (values[f"mean.{case}"] - shift) * scale
    logvar = values[f"logvar.{case}"] + 2 * np.log(scale)
    assert error(posterior.mode(), mean) < TOLERANCE
    assert error(posterior.logvar, logvar) < TOLERANCE


@pytest.mark.parametrize(("preset", "case"), list(product(PRESETS, CASES)))
@pytest.mark.sample(2)
def test_decode_equals_diffusers(preset: str, case: str) -> None:
    check_decode(loaded(preset), golden(preset), case)


@pytest.mark.parametrize(("preset", "case"), list(product(PRESETS, CASES)))
@pytest.mark.sample(2)
def test_encode_equals_diffusers(preset: str, case: str) -> None:
    check_encode(loaded(preset), golden(preset), case)


@pytest.mark.parametrize(("case", "preset"), KIN_CASES)
def test_other_families_decode_as_diffusers_does(case: str, preset: str) -> None:
    vae, values = loaded(preset), golden(preset)
    assert type(vae.config) is type(config_of(preset))
    want = values[f"decoded.{case}"].transpose(0, 2, 3, 1)
    assert error(vae.decode(values[f"latents.{case}"], output_type="np", raw=True), want) < TOLERANCE


@pytest.mark.parametrize(("case", "preset"), KIN_CASES)
def test_other_families_encode_as_diffusers_does(case: str, preset: str) -> None:
    values = golden(preset)
    images = values[f"images.{case}"].transpose(0, 2, 3, 1)
    assert error(loaded(preset).encode(images).mode(), values[f"mean.{case}"]) < TOLERANCE


@pytest.mark.slow
def test_z_image_at_full_width_equals_diffusers() -> None:
    vae = random_vae(config_of("z-image"))
    for size in FULL_SIZES:
        case = "x".join(map(str, size))
        check_decode(vae, golden("full_z-image"), case)
        check_encode(vae, golden("full_z-image"), case)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_folder_says_the_preset(preset: str) -> None:
    assert loaded(preset).config == narrow(preset)


@pytest.mark.parametrize("preset", ["flux1", "sd1"])
@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
def test_original_names_give_the_identical_model(preset: str, prefix: str, tmp_path: Path) -> None:
    tensors = load_file(DATA / preset / "diffusion_pytorch_model.safetensors")
    config = narrow(preset)
    rows = vae_rows(config.block_out_channels, config.latent_channels, config.layers_per_block, config.use_quant_conv)
    original = {}
    for row in rows:
        values = tensors.pop(row.name)
        projection = values.ndim == 2  # the original attention's projections are 1×1 convolutions
        original[prefix + row.original] = values[:, :, None, None] if projection else values
    assert not tensors
    save_file(original, tmp_path / "ae.safetensors")
    vae = VAE.load(tmp_path / "ae.safetensors", dtype="float32", decoder_only=False, config=config)
    want, got = loaded(preset).weights, vae.weights
    assert got.keys() == want.keys()
    assert all(mx.array_equal(got[name], want[name]).item() for name in want)


def test_samples_follow_the_key_and_the_variance() -> None:
    values, vae = golden("sd1"), loaded("sd1")
    posterior = vae.encode(values["images.2x17x3"].transpose(0, 2, 3, 1))
    first, again = posterior.sample(mx.random.key(1)), posterior.sample(mx.random.key(1))
    assert mx.array_equal(first, again).item()
    assert not mx.array_equal(first, posterior.sample(mx.random.key(2))).item()
    noise = np.asarray((first - posterior.mean) * mx.exp(-0.5 * posterior.logvar))
    assert abs(noise.mean()) < 0.15
    assert 0.9 < noise.std() < 1.1


@pytest.mark.parametrize("case", [CASES[-1], *(pytest.param(case, marks=pytest.mark.slow) for case in CASES[:-1])])
def test_flux2_decodes_and_encodes_packed_maps_as_diffusers_does(case: str) -> None:
    vae, values = loaded("flux2"), golden("flux2")
    packed, want = values[f"latents.{case}"], values[f"decoded.{case}"].transpose(0, 2, 3, 1)
    assert error(vae.decode(packed, output_type="np", raw=True), want) < TOLERANCE
    batch, channels, height, width = packed.shape
    tokens = packed.reshape(batch, channels, height * width).transpose(0, 2, 1)
    sized = Latents(tokens, height=height * vae.config.cell, width=width * vae.config.cell)
    assert error(vae.decode(sized, output_type="np", raw=True), want) < TOLERANCE
    encoded = vae.encode(values[f"images.{case}"].transpose(0, 2, 3, 1))
    assert error(encoded.mode(), values[f"mean.{case}"]) < TOLERANCE
