"""A config reads the files of diffusers, and refuses impossible values by the field's name."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.families.flux2 import DEV
from tests.families.test_dc import SANA_FILE
from tests.families.test_hunyuan_image import HUNYUAN
from tests.families.test_qwen_image import QWEN
from tests.families.test_residual import QWEN as QWEN_2_1
from tests.families.test_residual import WAN_2_2
from tests.families.test_tiny import TINY
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import FAMILIES, PRESETS, VAEConfig, config_from, config_of, preset_names
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.table import HARMLESS

FLUX: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.30.0.dev0",
    "_name_or_path": "../checkpoints/flux-dev",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 16,
    "latents_mean": None,
    "latents_std": None,
    "layers_per_block": 2,
    "mid_block_add_attention": True,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_post_quant_conv": False,
    "use_quant_conv": False,
}

REFUSED = [
    ("block_out_channels", []),
    ("block_out_channels", [128, 0]),
    ("block_out_channels", [128, -256, 512, 512]),
    ("block_out_channels", [128, 256, 512, 100]),
    ("block_out_channels", 128),
    ("block_out_channels", [32] * 9),
    ("block_out_channels", ["128", 256, 512, 512]),
    ("latent_channels", 0),
    ("latent_channels", True),
    ("latent_channels", 16.0),
    ("latent_channels", "16"),
    ("latent_channels", None),
    ("latent_channels", 1 << 40),
    ("in_channels", -3),
    ("out_channels", 0),
    ("layers_per_block", 0),
    ("layers_per_block", [2, 2]),
    ("layers_per_block", 30),
    ("layers_per_block", 1 << 15),
    ("norm_num_groups", 0),
    ("norm_num_groups", 48),
    ("scaling_factor", 0),
    ("scaling_factor", -0.3),
    ("scaling_factor", float("nan")),
    ("scaling_factor", float("inf")),
    ("scaling_factor", 1e-40),
    ("scaling_factor", None),
    ("scaling_factor", True),
    ("shift_factor", float("nan")),
    ("shift_factor", "0.1"),
    ("use_quant_conv", 1),
    ("use_post_quant_conv", None),
    ("mid_block_add_attention", "yes"),
    ("force_upcast", 0),
    ("down_block_types", ["DownEncoderBlock2D"] * 3),
    ("down_block_types", ["AttnDownEncoderBlock2D"] * 4),
    ("up_block_types", ["UpDecoderBlock2D"] * 5),
    ("up_block_types", "UpDecoderBlock2D"),
    ("act_fn", "gelu"),
    ("_class_name", "AutoencoderOobleck"),
    ("_class_name", "AutoencoderKLConfig"),
    ("_class_name", ["AutoencoderKL"]),
    ("time_compression_ratio", 4),
]


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


SDXL = without(FLUX, "shift_factor", "latents_mean", "latents_std", "use_quant_conv", "use_post_quant_conv")
SDXL |= {"latent_channels": 4, "scaling_factor": 0.13025, "sample_size": 1024}
SD1 = without(SDXL, "scaling_factor", "force_upcast", "mid_block_add_attention")
TAEHV = TINY | {
    "decoder_block_out_channels": [256, 128, 64, 64],
    "num_encoder_blocks": [0, 3, 3, 3],
    "num_decoder_blocks": [3, 3, 3, 0],
    "memory": True,
}
PUBLISHED = {
    "flux1": FLUX,
    "z-image": FLUX,
    "sd1": SD1 | {"sample_size": 512},
    "sdxl": SDXL,
    "sd3": FLUX | {"scaling_factor": 1.5305, "shift_factor": 0.0609},
    "sdxl-fp16-fix": SDXL | {"force_upcast": False, "sample_size": 512},
    "playground-2.5": SDXL
    | {
        "scaling_factor": 0.5,
        "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
        "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
    },
    "sd-x4-upscaler": without(SD1, "down_block_types", "up_block_types")
    | {
        "block_out_channels": [128, 256, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "scaling_factor": 0.08333,
        "sample_size": 256,
    },
    "cogview4": FLUX
    | {
        "block_out_channels": [128, 512, 1024, 1024],
        "layers_per_block": 3,
        "mid_block_add_attention": False,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
    },
    "flux2": DEV,
    "qwen-image": QWEN,
    "qwen-image-layered": QWEN | {"input_channels": 4},
    "ming-image": QWEN | {"input_channels": 4, "latents_mean": [0] * 16, "latents_std": [1 / 8.0064] * 16},
    "wan2.1": QWEN | {"_class_name": "AutoencoderKLWan"},
    "wan2.2": WAN_2_2,
    "qwen-image-2.1": QWEN_2_1,
    "hunyuan-image-2.1": HUNYUAN,
    "sana": SANA_FILE,
    "taesd": TINY | {"latent_channels": 4},
    "taesdxl": TINY | {"latent_channels": 4},
    "taesd3": TINY,
    "taef1": TINY,
    # Published without a config: these say in our words what the author's taesd.py builds.
    "taef2": TINY | {"latent_channels": 32, "pools": True, "patch": 2},
    "taesana": TINY
    | {
        "latent_channels": 32,
        "encoder_stem": [32, 64],
        "decoder_block_out_channels": [256, 128, 64, 64, 64, 64],
        "num_decoder_blocks": [3, 3, 3, 3, 3, 1],
    },
    "taeqi2_1": TINY
    | {
        "in_channels": 4,
        "out_channels": 4,
        "latent_channels": 64,
        "encoder_block_out_channels": [64, 64, 128, 256],
        "decoder_block_out_channels": [256, 128, 64, 64],
        "packs": True,
    },
    "taew2_1": TAEHV,
    "taew2_2": TAEHV | {"latent_channels": 48, "packs": True},
    "flux2-small": DEV | {"decoder_block_out_channels": [96, 192, 384, 384]},
    "ernie-image": DEV | {"batch_norm_eps": 1e-5},  # as its pipeline computes; its config.json says 1e-4
    "ideogram4": DEV | {"pipeline": "ideogram4"},
    "fibo2": DEV | {"pipeline": "fibo2"},
    "pixel-space": {"_class_name": "PixelSpace"},  # no model has a file of it
}
"""The config.json of each preset's models on Hugging Face. Missing keys have the defaults of diffusers' class."""


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_the_published_config(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PUBLISHED[name]))
    assert config_of(path) == config_of(name)


@pytest.mark.parametrize(("name", "pixels"), [("sd1", 8), ("flux1", 8), ("flux2", 16)])
def test_a_latent_of_a_pipeline_stands_for_so_many_pixels_a_side(name: str, pixels: int) -> None:
    assert config_of(name).cell == pixels


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_impossible_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(field)) as caught:
        config_from(FLUX | {field: value}, source="here/config.json")
    assert str(caught.value).startswith("[config] here/config.json: ")


MEANS = without(SDXL, "shift_factor") | {"latents_mean": [0.5] * 4, "latents_std": [2.0] * 4}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"latents_std": None}, "latents_std must list 4 numbers"),
        ({"latents_mean": [0.5] * 3}, "latents_mean must list 4 numbers"),
        ({"latents_mean": ["0"] * 4}, r"latents_mean\[0\] must be a number"),
        ({"latents_std": [2.0, 0.0, 2.0, 2.0]}, r"latents_std\[1\] must be above 0"),
        ({"shift_factor": 0.1}, "shift_factor and latents_mean are both set"),
    ],
)
def test_means_and_deviations_are_checked(change: dict[str, Any], problem: str) -> None:
    assert config_from(MEANS).latents.mean == (0.5,) * 4
    with pytest.raises(ConfigError, match=problem):
        config_from(MEANS | change)


def test_glm_image_uses_no_scaling_factor() -> None:
    """Its pipeline multiplies by the deviations and adds the means, whatever scaling_factor its config has."""
    glm = PUBLISHED["cogview4"] | {"latents_mean": [0.5] * 16, "latents_std": [2.0] * 16, "scaling_factor": 0.18215}
    assert config_from(without(glm, "shift_factor")).latents.scaling == 1
    with pytest.raises(ConfigError, match=r"scaling_factor is 0\.5 beside latents_mean"):
        config_from(without(glm, "shift_factor") | {"scaling_factor": 0.5})


@pytest.mark.parametrize("key", sorted(HARMLESS))
def test_harmless_keys_change_nothing(key: str) -> None:
    assert config_from(FLUX | {key: [1, {"any": "thing"}]}) == config_of("flux1")


def test_missing_keys_have_diffusers_defaults() -> None:
    config = config_from({"block_out_channels": [64]})
    assert isinstance(config, AutoencoderKLConfig)
    assert config.use_quant_conv
    assert config.scaling_factor == 0.18215
    assert config.up_block_types == ("UpDecoderBlock2D",)


@given(
    st.dictionaries(
        st.sampled_from(sorted(FLUX)),
        st.none() | st.integers() | st.floats() | st.text() | st.lists(st.integers()),
    )
)
def test_any_values_give_a_config_or_a_config_error(changes: dict[str, Any]) -> None:
    try:
        config = config_from(FLUX | changes)
    except ConfigError:
        return
    # An accepted config reads back as itself.
    assert config_from(asdict(config)) == config


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"[1]", "JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b'{"latent_channels": 4, "latent_channels": 16}', r"config.json: 'latent_channels' appears more than once"),
        (b" " * (1 << 16) + b"{}", "larger than"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        config_of(path)


@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"k{i}": 1' for i in range(5_000)) + "}",
        "{" + ",".join(f'"k{i}": 1, "k{i}": 2' for i in range(2_000)) + "}",
        '{"' + "k" * 60_000 + '": 1}',
    ],
)
def test_a_message_about_many_keys_lists_a_few(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        config_of(path)
    assert len(str(refused.value)) < 1_000


def test_places_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "fifo", tmp_path / "absent.json"):
        with pytest.raises(ConfigError, match=re.escape(str(place))):
            config_of(place)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux lists open files there")
def test_a_folder_in_the_place_of_a_config_is_closed(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(4):
        with pytest.raises(ConfigError):
            config_of(tmp_path / "config.json")
    assert len(os.listdir("/proc/self/fd")) == before


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as refused:
        config_of("flux")
    listed = re.search(r"Presets: ([^;]+);", refused.value.advice)
    assert listed is not None
    assert {name: config_of(name) for name in listed[1].split(", ")} == PRESETS
    with pytest.raises(ConfigError, match=r"Did you mean z-image\? Presets: "):
        config_of("zimage")


def test_a_config_is_taken_as_it_is_and_anything_else_is_refused() -> None:
    config = config_of("sdxl")
    assert config_of(config) is config
    for wrong in (None, 7, ["z-image"], {"latent_channels": 4}):
        with pytest.raises(ConfigError, match=r"a config must be a VAEConfig, a preset's name or a config\.json"):
            config_of(wrong)  # type: ignore[arg-type]


def test_presets_are_told_by_their_values() -> None:
    assert preset_names(config_of("flux1")) == ["z-image", "flux1"]
    assert preset_names(config_of("flux2")) == ["flux2"]
    assert preset_names(AutoencoderKLConfig()) == []


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_family_reads_back_what_it_is_made_of(name: str) -> None:
    config = config_of(name)
    written = json.loads(json.dumps({"_class_name": config.class_name, **asdict(config)}))
    assert config_from(written) == config
    assert FAMILIES[config.class_name].config is type(config)


def test_what_a_config_does_not_say_of_its_class_is_not_guessed() -> None:
    """Without a class it is an AutoencoderKL: keys of another family are refused by name."""
    with pytest.raises(ConfigError, match=r"unknown keys .*'patch_size'"):
        config_from(FLUX | {"patch_size": [2, 2]})
    without = {name: value for name, value in FLUX.items() if name != "_class_name"}
    assert config_from(without) == config_of("flux1")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_difference_is_told_in_fields(name: str) -> None:
    config: VAEConfig = config_of(name)
    assert config.different_from(config) == ""
    changes = {"norm_num_groups": 16, "num_res_blocks": 3, "out_channels": 1, "channels": 1, "scaling_factor": 2.0}
    field, value = next((name, value) for name, value in changes.items() if name in asdict(config))
    other = config_from({"_class_name": config.class_name, **asdict(config), field: value})
    assert other.different_from(config) == f"{field}={value}"
    kin = config_of("sd1" if config.class_name == "AutoencoderKLFlux2" else "flux2")
    assert config.different_from(kin) == config.class_name
