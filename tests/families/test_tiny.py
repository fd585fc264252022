"""AutoencoderTiny: configs, golden values of diffusers, and what a VAE without any barrier can do."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.data import SIZES
from tests.support.models import random_vae
from tests.support.plans import bits
from zvae_tiled import VAE, Latents, Tiles, config_of, plan
from zvae_tiled.errors import ConfigError, LatentsError
from zvae_tiled.families import config_from
from zvae_tiled.families.tiny import TinyConfig

DATA = Path(__file__).parents[1] / "data"
CASES = ["x".join(map(str, size)) for size in SIZES]
TINY: dict[str, Any] = {
    "_class_name": "AutoencoderTiny",
    "_diffusers_version": "0.30.0.dev0",
    "act_fn": "relu",
    "block_out_channels": [64, 64, 64, 64],
    "decoder_block_out_channels": [64, 64, 64, 64],
    "encoder_block_out_channels": [64, 64, 64, 64],
    "force_upcast": False,
    "in_channels": 3,
    "latent_channels": 16,
    "latent_magnitude": 3,
    "latent_shift": 0.5,
    "num_decoder_blocks": [3, 3, 3, 1],
    "num_encoder_blocks": [1, 3, 3, 3],
    "out_channels": 3,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
    "upsample_fn": "nearest",
    "upsampling_scaling_factor": 2,
}
"""The config.json of taef1."""

SMALL = TinyConfig(
    encoder_block_out_channels=(4, 4),
    decoder_block_out_channels=(4, 4),
    num_encoder_blocks=(1, 1),
    num_decoder_blocks=(1, 1),
)


@cache
def loaded() -> VAE:
    return VAE.load(DATA / "taef1", dtype="float32", decoder_only=False)


@cache
def golden() -> dict[str, np.ndarray]:
    return load_file(DATA / "golden_taef1.safetensors")


def error(got: Any, want: np.ndarray) -> float:
    return float(np.abs(np.asarray(got, np.float64) - want).max() / want.std(dtype=np.float64))


@pytest.mark.parametrize("case", CASES)
def test_it_equals_diffusers(case: str) -> None:
    want = golden()[f"decoded.{case}"].transpose(0, 2, 3, 1)
    latents = golden()[f"latents.{case}"]
    assert error(loaded().decode(latents, "np", raw=True), want) < 1e-4
    assert np.abs(loaded().decode(latents, "np") - np.clip(want / 2 + 0.5, 0, 1)).max() < 1e-4
    images = golden()[f"images.{case}"].transpose(0, 2, 3, 1)
    assert error(loaded().encode(images).mode(), golden()[f"mean.{case}"]) < 1e-4


def test_the_published_config_is_the_preset() -> None:
    assert config_from(TINY) == config_of("taef1") == config_of("taesd3")
    assert config_from(TINY | {"latent_channels": 4}) == config_of("taesd") == config_of("taesdxl")
    decoder, encoder = (config_of("taef1").chain(task) for task in ("decode", "encode"))
    assert decoder.barriers == encoder.barriers == ()
    assert decoder.reach(0) == 19
    assert decoder.parameters / 1e6 == pytest.approx(1.2, abs=0.05)
    assert encoder.parameters / 1e6 == pytest.approx(1.2, abs=0.05)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"act_fn": "silu"}, "act_fn must be 'relu'"),
        ({"upsampling_scaling_factor": 4}, "upsampling_scaling_factor must be 2"),
        ({"scaling_factor": 0.5}, "scaling_factor must be 1"),
        ({"encoder_block_out_channels": [[8], {"a": 1}]}, r"encoder_block_out_channels\[0\] must be a whole number"),
        ({"latent_channels": 0}, "latent_channels must be a whole number"),
        ({"decoder_block_out_channels": []}, "decoder_block_out_channels must list 1 to 8 widths"),
        ({"encoder_block_out_channels": [1 << 40] * 4}, r"encoder_block_out_channels\[0\] must be a whole number"),
        ({"num_decoder_blocks": [3, 3, 3]}, "num_decoder_blocks must list 4 numbers"),
        ({"num_encoder_blocks": [1, 3, 3, 0]}, r"num_encoder_blocks\[3\] must be a whole number"),
        ({"num_decoder_blocks": [30, 30, 3, 1]}, "num_decoder_blocks lists 64 blocks, at most 40"),
        (
            {"encoder_block_out_channels": [64] * 3, "num_encoder_blocks": [1, 3, 3]},
            "it lists 4, they list 3",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config_from(TINY | change)


def test_a_decode_is_one_sweep_and_tiles_are_exact_without_a_pass_before() -> None:
    vae = random_vae(SMALL)
    latents = np.random.default_rng(0).standard_normal((1, 4, 70, 61)).astype(np.float32)
    exact, report = vae.decode(latents, return_report=True)
    assert [sweep.ends for sweep in report.plan.sweeps] == ["pixels"]
    for quality in ("stream", Tiles(80), Tiles(80, overlap=40, moments="tile")):
        tiles, report = vae.decode(latents, quality=quality, return_report=True)
        assert report.exact
        assert [stage.name for stage in report.plan.stages] == ["pixels"]
        assert np.abs(np.asarray(tiles) - np.asarray(exact)).max() < 1e-5
    narrow, report = vae.decode(latents, quality=Tiles(80, overlap=4), return_report=True)
    assert not report.exact
    assert "exact from an overlap of 14 pixels" in report.statistics
    assert report.plan.expected_error == "unknown: not measured for this VAE"
    assert np.abs(np.asarray(narrow) - np.asarray(exact)).max() > 1e-4


def test_latents_that_are_not_scaled_are_refused() -> None:
    with pytest.raises(LatentsError, match="an AutoencoderTiny reads latents as a pipeline has them"):
        random_vae(SMALL).decode(Latents(np.zeros((1, 4, 3, 3), np.float32), scaled=False))


def test_a_plan_without_weights_predicts_as_much_as_one_with() -> None:
    whole = random_vae(SMALL)
    names = SMALL.chain("decode").shapes
    vae = VAE(SMALL, {name: whole.weights[name] for name in names}, whole.dtype)
    assert plan(SMALL, 64, 64, "1GB", dtype="float32").predicted_peak == vae.plan(64, 64, "1GB").predicted_peak


def test_an_encode_has_no_variance() -> None:
    vae = random_vae(SMALL)
    found = vae.encode(np.random.default_rng(0).random((1, 8, 6, 3), np.float32))
    assert bits(found.sample()) == bits(found.mode())
    assert not np.isfinite(np.asarray(found.logvar)).any()
