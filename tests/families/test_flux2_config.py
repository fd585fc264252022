"""FLUX.2's config: the published one equals the preset, and an impossible value is refused by the field's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.families.flux2 import DEV
from zvae_tiled import config_of, plan
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import config_from
from zvae_tiled.families.flux2 import Flux2Config


def test_the_published_config_is_the_preset(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(DEV))
    config = config_of(tmp_path / "config.json")
    assert config == config_of("flux2")
    assert isinstance(config, Flux2Config)
    assert (config.latent_channels, config.block_out_channels, config.batch_norm_eps) == (
        32,
        (128, 256, 512, 512),
        1e-4,
    )
    assert (config.scale, config.cell) == (8, 16)
    assert (config.latents.channels, config.latents.patch, config.latents.token) == (128, 2, 1)


def test_the_small_decoder_has_widths_of_its_own() -> None:
    config = config_from(DEV | {"decoder_block_out_channels": [96, 192, 384, 384]})
    decoder, encoder = config.chain("decode"), config.chain("encode")
    assert max(step.outputs for step in decoder.steps) == 384
    assert [step.inputs for step in decoder.steps if step.upsample] == [384, 384, 192]
    assert decoder.steps[-1].inputs == 96
    assert {step.norm.groups for step in decoder.steps if step.norm} == {32}  # 3, 6 or 12 channels each
    assert encoder == config_of("flux2").chain("encode")
    assert decoder.parameters / 1e6 == pytest.approx(27.9, abs=0.05)
    assert config_of("flux2").chain("decode").parameters / 1e6 == pytest.approx(49.6, abs=0.05)
    assert encoder.parameters / 1e6 == pytest.approx(34.4, abs=0.05)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("decoder_block_out_channels", [96, 192, 384], "decoder_block_out_channels must list 4 widths"),
        ("decoder_block_out_channels", [96, 192, 384, 100], "norm_num_groups must divide every width in decoder_bl"),
        ("decoder_block_out_channels", 96, "decoder_block_out_channels must list"),
        ("decoder_block_out_channels", ["96"] * 4, r"decoder_block_out_channels\[0\]"),
        ("block_out_channels", [128, 256, 512, 100], "norm_num_groups must divide every width in block_out_channels"),
        ("batch_norm_eps", 0, "batch_norm_eps must be above 0"),
        ("batch_norm_eps", -1e-4, "batch_norm_eps must be above 0"),
        ("batch_norm_eps", None, "batch_norm_eps must be a number"),
        ("batch_norm_eps", float("nan"), "batch_norm_eps must be finite"),
        ("patch_size", [1, 1], r"patch_size must be \[2, 2\]"),
        ("patch_size", 2, "patch_size must be"),
        ("patch_size", [2, 2, 2], "patch_size must be"),
        ("latent_channels", 0, "latent_channels"),
        ("layers_per_block", 200, "layers_per_block"),
        ("act_fn", "gelu", "act_fn"),
        ("use_quant_conv", 1, "use_quant_conv"),
        ("scaling_factor", 0.3611, "unknown keys .*'scaling_factor'"),
        ("latents_mean", [0.0] * 32, "unknown keys .*'latents_mean'"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(field: str, value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        config_from(DEV | {field: value})


@pytest.mark.parametrize("widths", [None, (96, 192, 384, 384)])
def test_the_published_sizes_are_planned(widths: tuple[int, ...] | None) -> None:
    config = config_from(DEV | {"decoder_block_out_channels": widths and list(widths)})
    made = plan(config, 2048, 1536, "4GB")
    assert (made.case.height, made.case.width) == (256, 192)  # the VAE's own latents
    assert made.predicted_peak <= 4e9
    tight = plan(config, 2048, 1536, "700MB")
    assert tight.predicted_peak <= 7e8
