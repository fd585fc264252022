"""Qwen-Image 2.1 and Wan 2.2 on one frame: configs, names, files in every form, pictures with alpha.

Their arithmetic is held to diffusers' in tests/peers/test_qwen_image.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from benchmarks.frames import with_frames
from tests.families.test_qwen_image import WAN
from tests.support.models import random_tensors, random_vae, torch_shapes
from tests.support.plans import bits, random_residual
from zvae_tiled import VAE, VAEConfig, config_of
from zvae_tiled.errors import ConfigError, ZvaeError
from zvae_tiled.families import config_from
from zvae_tiled.families.qwen_image_2_1 import QwenImage21Config
from zvae_tiled.families.wan import WanConfig
from zvae_tiled.weights.names import canonical_names

QWEN = {"_class_name": "AutoencoderKLQwenImage21", "is_residual": True, "patch_size": None, "in_channels": 4}
WAN_2_2: dict[str, Any] = {
    "_class_name": "AutoencoderKLWan",
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "patch_size": 2,
    "in_channels": 12,
    "out_channels": 12,
    "scale_factor_spatial": 16,
    "latents_mean": list(config_of("wan2.2").latents.mean),
    "latents_std": list(config_of("wan2.2").latents.std),
}


def test_the_published_configs_are_the_presets() -> None:
    qwen, wan = config_from(QWEN), config_from(WAN_2_2)
    assert (qwen, wan) == (config_of("qwen-image-2.1"), config_of("wan2.2"))
    assert (qwen.scale, qwen.image_channels, qwen.picture_channels, qwen.latents.channels) == (16, 4, 4, 64)
    assert (wan.scale, wan.image_channels, wan.picture_channels, wan.latents.channels) == (16, 3, 3, 48)
    sizes = [config.chain(task).parameters / 1e6 for config in (qwen, wan) for task in ("decode", "encode")]
    assert sizes == pytest.approx([253, 77.9, 198.2, 53.9], abs=0.1)


@pytest.mark.parametrize("preset", ["qwen-image-2.1", "wan2.2"])
def test_the_attention_is_the_only_barrier(preset: str) -> None:
    decoder = config_of(preset).chain("decode")
    assert [decoder.steps[cut].kind for cut in decoder.barriers] == ["attention"]
    assert decoder.open[decoder.middle] == (), "tiles begin where no skip is open"
    assert max(map(len, decoder.open)) == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({**QWEN, "patch_size": 2}, "patch_size must be None"),
        ({**QWEN, "is_residual": False}, "is_residual must be True"),
        ({**QWEN, "num_res_blocks": 1}, "num_res_blocks must be at least 2"),
        ({**QWEN, "dim_mult": [1, 2, 4, 8, 16]}, "dim_mult must end with two equal multiples"),
        ({**QWEN, "dim_mult": [1, 3, 4, 8, 8]}, "dim_mult does not fit temperal_downsample: 96 channels"),
        ({**QWEN, "out_channels": 0}, "out_channels must be a whole number"),
        ({**WAN_2_2, "patch_size": 2.0}, "patch_size must be a whole number"),
        ({**WAN_2_2, "patch_size": 4}, "patch_size must be 2 with is_residual"),
        ({**WAN_2_2, "out_channels": 3}, "out_channels must be a multiple of 4, with patch_size 2"),
        ({**WAN_2_2, "z_dim": 16}, "latents_mean must list 16 numbers"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config_from(change)


def narrow(kind: type[VAEConfig]) -> Any:
    """A small config of a class."""
    rng = Random(0)
    return next(config for config in iter(lambda: random_residual(rng), None) if isinstance(config, kind))


def wan_name(name: str) -> str:
    """The name in Wan 2.2's own file, by the table of its repository."""
    if (part := re.match(r"(en|de)coder\.(down|up)_blocks\.(\d)\.(resnets\.(\d)|(?:down|up)sampler)\.", name)) is None:
        for pattern, replacement in WAN:
            name = re.sub(pattern, replacement, name)
        inside = ".middle." in name
    else:
        inside = part[5] is not None
        number = part[5] or ("2" if part[2] == "down" else "3")
        name = f"{part[1]}coder.{part[2]}samples.{part[3]}.{part[2]}samples.{number}.{name[part.end() :]}"
    if inside:
        for ours, theirs in (("norm1.", "residual.0."), ("conv1.", "residual.2."), ("norm2.", "residual.3.")):
            name = name.replace(f".{ours}", f".{theirs}")
        name = name.replace(".conv2.", ".residual.6.").replace(".conv_shortcut.", ".shortcut.")
    return name


@pytest.mark.parametrize("form", ["diffusers", "Wan"])
def test_files_of_both_names_hold_the_same_vae(form: str, tmp_path: Path) -> None:
    config = narrow(WanConfig)
    config = WanConfig(**{**vars(config), "num_res_blocks": 2})
    stored = with_frames(random_tensors(torch_shapes(config)), config)
    assert any("time_conv" in name for name in stored) == any(config.temperal_downsample)
    named = {wan_name(name): values for name, values in stored.items()} if form == "Wan" else stored
    save_file({name: np.ascontiguousarray(values) for name, values in named.items()}, tmp_path / "vae.safetensors")
    if form == "Wan":
        assert not [name for name in named if "_blocks" in name]
        assert set(canonical_names(named).values()) == set(canonical_names(stored).values())
    vae = VAE.load(tmp_path / "vae.safetensors", "float32", decoder_only=False, config=config)
    want = random_vae(config)
    assert vae.weights.keys() == want.weights.keys()
    assert all(bits(vae.weights[name]) == bits(values) for name, values in want.weights.items())


def test_alpha_reaches_files_that_can_hold_it_and_is_refused_where_they_cannot(tmp_path: Path) -> None:
    config = QwenImage21Config(
        base_dim=2, decoder_base_dim=3, z_dim=4, dim_mult=(1, 2, 2), temperal_downsample=(False, True), **FOUR
    )
    vae = random_vae(config)
    latents = np.random.default_rng(0).standard_normal((1, 4, 6, 5)).astype(np.float32)
    picture = vae.decode(latents, "np")
    assert picture.shape == (1, 24, 20, 4)
    for ending in (".png", ".tiff", ".webp"):
        vae.decode_to_file(latents, tmp_path / f"a{ending}")
        with Image.open(tmp_path / f"a{ending}") as file:
            assert file.mode == "RGBA"
            if ending != ".webp":
                assert np.abs(np.asarray(file) / 255 - picture[0]).max() <= 0.5 / 255 + 1e-6
    vae.decode_to_file(latents, tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape == (24, 20, 4)
    with pytest.raises(ZvaeError, match="jpg"):
        vae.decode_to_file(latents, tmp_path / "a.jpg")
    assert vae.encode(picture).mean.shape == latents.shape


FOUR: dict[str, Any] = {"latents_mean": (0.0,) * 4, "latents_std": (1.0,) * 4}
