"""Weights without a config: a preset is recognised by names and shapes, or asked for where they cannot tell."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from tests.support.models import FLUX2, narrow, save_random, torch_shapes
from zvae_tiled import VAE, VAEConfig
from zvae_tiled.cli.sources import named_config
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import PRESETS
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.families.wan import WanConfig
from zvae_tiled.weights import recognise
from zvae_tiled.weights.find import find_checkpoint

SAME = (
    {"z-image", "flux1", "sd3"},
    {"sd1", "sdxl", "sdxl-fp16-fix", "playground-2.5"},
    {"cogview4"},
    {"flux2", "ideogram4", "ernie-image", "fibo2"},
    {"qwen-image-layered", "ming-image"},
)
"""Presets of the same names and shapes, and of other latents than another of them, or than a model without a preset."""

QWEN = QwenImageConfig(base_dim=4, dim_mult=(1, 2), num_res_blocks=1, temperal_downsample=(True,))
SMALL = TinyConfig(
    latent_channels=4,
    encoder_stem=(4, 6),
    encoder_block_out_channels=(6,),
    decoder_block_out_channels=(8, 4, 4),
    num_encoder_blocks=(1,),
    num_decoder_blocks=(1, 1, 1),
    pools=True,
)


def write_header(config: VAEConfig, path: Path) -> Path:
    """A file with the names and shapes of this VAE, whose values are a hole."""
    table, start = {}, 0
    for name, shape in torch_shapes(config).items():
        stop = start + 2 * prod(shape)
        table[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, stop]}
        start = stop
    header = json.dumps(table).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + start)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_published_vae_is_recognised_or_every_candidate_is_named(preset: str, tmp_path: Path) -> None:
    checkpoint = find_checkpoint(write_header(PRESETS[preset], tmp_path / "vae.safetensors"))
    candidates = next((names for names in SAME if preset in names), None)
    if candidates is None:
        assert recognise.alike(recognise.chosen_config(None, checkpoint), PRESETS[preset])
        return
    with pytest.raises(ConfigError, match="have these names and shapes, but other latents") as error:
        recognise.chosen_config(None, checkpoint)
    assert all(name in error.value.advice for name in candidates)
    assert set(recognise.fitting_presets(checkpoint)) == candidates
    assert ("GLM-Image" in error.value.problem) == (preset == "cogview4")


@pytest.mark.parametrize("config", [FLUX2, QWEN, SMALL], ids=lambda config: config.class_name)
def test_weights_that_fit_one_preset_load_without_a_config(
    config: VAEConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = WanConfig(base_dim=4, dim_mult=(1, 2), num_res_blocks=1, temperal_downsample=(True,))
    presets = {"other": narrow("sd1"), "first": config, "again": config, "wan": twin}
    monkeypatch.setattr(recognise, "PRESETS", presets)
    path = save_random(config, tmp_path / "vae.safetensors")
    assert VAE.load(path).config == config == named_config(str(path), None)


def test_weights_that_fit_presets_of_other_latents_need_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(narrow("sd1"), scaling_factor=0.5)
    monkeypatch.setattr(recognise, "PRESETS", {"sd1": narrow("sd1"), "half": config})
    path = save_random(config, tmp_path / "vae.safetensors")
    for load in (VAE.load, lambda path: named_config(str(path), None)):
        with pytest.raises(ConfigError, match=r"sd1 and half have these names .*, but other latents") as error:
            load(path)
        assert "the preset of the model (sd1 or half)" in error.value.advice
    assert VAE.load(path, config=config).config == config


def test_weights_that_fit_no_preset_need_a_config(tmp_path: Path) -> None:
    path = save_random(narrow("sd1"), tmp_path / "vae.safetensors")
    with pytest.raises(ConfigError, match="no preset has their names and shapes"):
        VAE.load(path)
