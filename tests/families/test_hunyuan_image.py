"""HunyuanImage 2.1: its config, and the two namings of its files. The peers check its numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.frames import with_projections
from tests.support.models import random_tensors, random_vae, torch_shapes
from tests.support.plans import bits
from zvae_tiled import VAE, config_of
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import config_from
from zvae_tiled.families.hunyuan_image import HunyuanImageConfig
from zvae_tiled.weights.names import canonical_names

HUNYUAN: dict[str, Any] = {
    "_class_name": "AutoencoderKLHunyuanImage",
    "block_out_channels": [128, 256, 512, 512, 1024, 1024],
    "downsample_match_channel": True,
    "in_channels": 3,
    "latent_channels": 64,
    "layers_per_block": 2,
    "out_channels": 3,
    "sample_size": 384,
    "scaling_factor": 0.75289,
    "spatial_compression_ratio": 32,
    "upsample_match_channel": True,
}
"""The config.json of HunyuanImage 2.1."""


def test_the_published_config_is_the_preset() -> None:
    config = config_from(HUNYUAN)
    assert config == config_of("hunyuan-image-2.1")
    assert (config.scale, config.latents.channels, config.latents.token) == (32, 64, 1)
    sizes = [config.chain(task).parameters / 1e6 for task in ("decode", "encode")]
    assert sizes == pytest.approx([260.6, 145], abs=0.1)
    gathered = [step.gathers for step in config.chain("decode").steps if step.barrier]
    assert [len(each) for each in gathered].count(2) == 1, "one attention"
    assert len(gathered) == 42


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"spatial_compression_ratio": 16}, "spatial_compression_ratio must be 32"),
        ({"upsample_match_channel": False}, "upsample_match_channel must be True"),
        ({"block_out_channels": [128, 1024, 1024, 1024, 1024, 1024]}, "1024 does not divide 4 times 128"),
        ({"block_out_channels": [100] * 6}, "32 does not divide 100"),
        ({"latent_channels": 60}, "must be a multiple of twice latent_channels, 60"),
        ({"scaling_factor": 0}, "scaling_factor must be above 0"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config_from(HUNYUAN | change)


def tencent(name: str) -> str:
    """The name in Tencent's own file: levels by number, in the decoder from the latents' level on."""
    name = re.sub(r"^", "vae.", name)
    if (part := re.search(r"(down|up)_blocks\.(\d+)\.", name)) is not None:
        count = {"down": 2, "up": 3}[part[1]]
        level, block = divmod(int(part[2]), count + 1)
        inside = f"block.{block}" if block < count else f"{part[1]}sample"
        name = name.replace(part[0], f"{part[1]}.{level}.{inside}.")
    for ours, theirs in (("resnets.0.", "block_1."), ("resnets.1.", "block_2."), ("attentions.0.", "attn_1.")):
        name = name.replace(f"mid_block.{ours}", f"mid.{theirs}")
    return re.sub(r"attn_1\.(to_)?(q|k|v|proj)\.", lambda part: f"attn_1.{part[2].replace('proj', 'proj_out')}.", name)


@pytest.mark.parametrize("form", ["diffusers", "Tencent"])
def test_files_of_both_names_hold_the_same_vae(form: str, tmp_path: Path) -> None:
    config = HunyuanImageConfig(
        latent_channels=4, block_out_channels=(32, 32, 32), layers_per_block=2, spatial_compression_ratio=4
    )
    stored = with_projections(random_tensors(torch_shapes(config)))
    named = {tencent(name): values for name, values in stored.items()} if form == "Tencent" else stored
    if form == "Tencent":  # all levels have the same shapes: by LDM's rule they would be reversed, and nothing said
        assert canonical_names(named)["vae.decoder.up.0.block.0.conv1.weight"] == "decoder.up_blocks.0.conv1.weight"
        assert canonical_names(named)["vae.decoder.up.1.upsample.conv.bias"] == "decoder.up_blocks.7.conv.bias"
    save_file({name: np.ascontiguousarray(values) for name, values in named.items()}, tmp_path / "vae.safetensors")
    vae = VAE.load(tmp_path / "vae.safetensors", "float32", decoder_only=False, config=config)
    want = random_vae(config)
    assert vae.weights.keys() == want.weights.keys()
    assert all(bits(vae.weights[name]) == bits(values) for name, values in want.weights.items())
