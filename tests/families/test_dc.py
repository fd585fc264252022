"""AutoencoderDC: its config, the facts of its Chains, and its pictures whatever the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.native import PATHS
from tests.support.chain64 import chain64
from tests.support.models import random_latents, random_vae, save_random
from tests.support.plans import bits, random_dc, random_plan
from zvae_tiled import VAE, config_of, plan
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.engine.sums import Sums
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import config_from
from zvae_tiled.families.dc import MAX_STATE, PRESETS, DCConfig
from zvae_tiled.files.journal import MOST
from zvae_tiled.planner.quality import Tiles

SANA = PRESETS["sana"]

BLOCKS = ["ResBlock"] * 3 + ["EfficientViTBlock"] * 3
SANA_FILE: dict[str, Any] = {
    "_class_name": "AutoencoderDC",
    "_diffusers_version": "0.32.0.dev0",
    "attention_head_dim": 32,
    "decoder_act_fns": "silu",
    "decoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "decoder_block_types": BLOCKS,
    "decoder_layers_per_block": [3, 3, 3, 3, 3, 3],
    "decoder_norm_types": "rms_norm",
    "decoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
    "downsample_block_type": "Conv",
    "encoder_block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "encoder_block_types": BLOCKS,
    "encoder_layers_per_block": [2, 2, 2, 3, 3, 3],
    "encoder_qkv_multiscales": [[], [], [], [5], [5], [5]],
    "in_channels": 3,
    "latent_channels": 32,
    "scaling_factor": 0.41407,
    "upsample_block_type": "interpolate",
}
"""The config.json of SANA's VAE."""

TYPES = ("ResBlock", "EfficientViTBlock")
SMALL = DCConfig(
    latent_channels=8,
    attention_head_dim=8,
    encoder_block_types=TYPES,
    decoder_block_types=TYPES,
    encoder_block_out_channels=(16, 32),
    decoder_block_out_channels=(16, 32),
    encoder_layers_per_block=(1, 1),
    decoder_layers_per_block=(1, 2),
    encoder_qkv_multiscales=((), (5,)),
    decoder_qkv_multiscales=((), (5,)),
    scaling_factor=0.4,
)


def test_the_published_network_has_the_parameters_and_the_attentions_it_should() -> None:
    decoder, encoder = SANA.chain("decode"), SANA.chain("encode")
    weights = [sum(int(np.prod(shape)) for shape in chain.shapes.values()) for chain in (decoder, encoder)]
    assert [round(count / 1e6, 1) for count in weights] == [159.2, 153.0]
    assert len(decoder.barriers) == len(encoder.barriers) == 9
    assert {decoder.steps[cut].kind for cut in decoder.barriers} == {"linear"}
    assert SANA.scale == 32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attention_head_dim", 7),
        ("decoder_block_types", ("ResBlock", "Block")),
        ("decoder_layers_per_block", (1, 0)),
        ("decoder_layers_per_block", (1,)),
        ("encoder_qkv_multiscales", ((), (5, 7))),
        ("encoder_qkv_multiscales", ((), (4,))),
        ("encoder_qkv_multiscales", ((), (5.0,))),
        ("latent_channels", 5),
        ("scaling_factor", 0),
    ],
)
def test_a_config_that_cannot_be_built_is_refused_with_the_fields_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        replace(SMALL, **{field: value})


@pytest.mark.parametrize(
    "values", [{"upsample_block_type": "pixel_shuffle"}, {"decoder_norm_types": ["batch_norm", "rms_norm"]}]
)
def test_other_variants_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        config_from({"_class_name": "AutoencoderDC", **values})


def test_a_file_without_a_config_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "sana", SMALL)
    monkeypatch.setattr("zvae_tiled.weights.recognise.PRESETS", {"sana": SMALL})
    assert VAE.load(save_random(SMALL, tmp_path / "vae.safetensors"), "float32").config == SMALL


@pytest.mark.parametrize(
    "kernels", [*PATHS[:1], *(pytest.param(path, marks=pytest.mark.slow) for path in ("mlx", *PATHS[1:]))]
)
def test_any_bands_give_the_same_bits_near_float64(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    vae, rng = random_vae(SMALL), Random(3)
    latents = random_latents(SMALL, 9, 7)
    first, *others = (vae.decode(latents, plan=random_plan(SMALL, 9, 7, "float32", rng), raw=True) for _ in range(4))
    assert all(bits(first) == bits(other) for other in others)
    want = chain64(vae, SMALL.chain("decode"), mx.array(latents.transpose(0, 2, 3, 1)) / SMALL.scaling_factor)
    near = 0.05 if "bf16" in kernels else 1e-4
    assert np.abs(np.asarray(first) - want).max() < near * want.std()


@pytest.mark.slow
def test_tiles_that_know_the_sums_of_the_whole_map_differ_by_rounding() -> None:
    vae, latents = random_vae(SMALL), random_latents(SMALL, 20, 4)
    want = vae.decode(latents, "np", raw=True)
    assert np.abs(vae.decode(latents, "np", raw=True, quality=Tiles(24, 8)) - want).max() < 1e-4 * want.std()
    alone = vae.decode(latents, "np", raw=True, quality=Tiles(24, 8, moments="tile"))
    assert np.abs(alone - want).max() > 1e-2 * want.std()


def test_the_kernels_of_gpus_agree(tmp_path: Path) -> None:
    rng = Random(5)
    for _ in range(3):
        config = random_dc(rng)
        vae, chain = random_vae(config), config.chain("decode")
        ready = mx.array(random_latents(config, 6, 5).transpose(0, 2, 3, 1))
        want = chain64(vae, chain, ready)
        norms = {name: np.asarray(array) for name, array in vae.weights.items()}
        drawn = random_plan(config, 6, 5, "float32", rng)
        rows = Run(chain, drawn.pixels, StripKernels(mx.float32), vae.weights, norms, SpillFile(tmp_path)).rows(
            ready * 1
        )
        got = np.concatenate([np.asarray(each) for each in rows], axis=1)
        assert np.abs(got - want).max() < 1e-3 * (1 + np.abs(want).max())


def test_an_attention_that_gathers_too_much_is_refused() -> None:
    widest: dict[str, Any] = {"encoder_block_out_channels": (16, 2048), "decoder_block_out_channels": (16, 2048)}
    with pytest.raises(
        ConfigError, match=r"attention_head_dim is 256 and .*\[1\] is 2048: an attention gathers 1,052,672"
    ):
        replace(SMALL, attention_head_dim=256, **widest)
    most = json.dumps(Sums((MAX_STATE,)).total.to_json())
    assert len(most) < MOST - 1000  # the rest of a note


def test_a_plan_of_the_published_network_fits_its_budget() -> None:
    for budget in ("1GB", "3GB"):
        assert plan("sana", 1024, 1024, budget).predicted_peak <= int(float(budget[:-2]) * 1e9)
    assert config_of("sana") is SANA
