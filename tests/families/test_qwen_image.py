"""Qwen-Image and Wan 2.1 on one frame: configs, files in every form, golden values of diffusers."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.data import SIZES
from tests.support.models import random_vae
from tests.support.plans import bits
from tests.support.running import run
from zvae_tiled import VAE, Latents, config_of, plan, write_latent_file
from zvae_tiled.errors import ConfigError, LatentsError, WeightsError
from zvae_tiled.families import config_from
from zvae_tiled.families.qwen_image import MEAN, STD, QwenImageConfig
from zvae_tiled.inputs.pictures import read_picture
from zvae_tiled.weights.names import canonical_names

DATA = Path(__file__).parents[1] / "data"
FOLDER = DATA / "qwen-image"
CASES = ["x".join(map(str, size)) for size in SIZES]
QWEN: dict[str, Any] = {
    "_class_name": "AutoencoderKLQwenImage",
    "_diffusers_version": "0.34.0.dev0",
    "attn_scales": [],
    "base_dim": 96,
    "dim_mult": [1, 2, 4, 4],
    "dropout": 0.0,
    "latents_mean": list(MEAN),
    "latents_std": list(STD),
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "z_dim": 16,
}
"""The config.json of Qwen-Image."""


@cache
def stored() -> dict[str, np.ndarray]:
    return load_file(FOLDER / "diffusion_pytorch_model.safetensors")


@cache
def loaded() -> VAE:
    return VAE.load(FOLDER, dtype="float32", decoder_only=False)


@cache
def golden() -> dict[str, np.ndarray]:
    return load_file(DATA / "golden_qwen-image.safetensors")


def error(got: Any, want: np.ndarray) -> float:
    return float(np.abs(np.asarray(got, np.float64) - want).max() / want.std(dtype=np.float64))


@pytest.mark.parametrize("case", CASES)
def test_it_equals_diffusers(case: str) -> None:
    want = golden()[f"decoded.{case}"].transpose(0, 2, 3, 1)
    raw = loaded().decode(golden()[f"latents.{case}"], "np", raw=True)
    assert error(raw, want) < 1e-4
    assert np.abs(raw).max() <= 1, "the decoder's own values are clipped"
    images = golden()[f"images.{case}"].transpose(0, 2, 3, 1)
    assert error(loaded().encode(images).mode(), golden()[f"mean.{case}"]) < 1e-4


def test_the_published_config_is_the_preset() -> None:
    assert config_from(QWEN) == config_of("qwen-image")
    assert config_from(QWEN | {"input_channels": 4}) == config_of("qwen-image-layered")
    config = config_of("qwen-image")
    assert (config.scale, config.cell, config.latents.channels, config.latents.token) == (8, 8, 16, 2)
    decoder = config.chain("decode")
    assert [decoder.steps[cut].kind for cut in decoder.barriers] == ["attention"]
    assert decoder.parameters / 1e6 == pytest.approx(25.3, abs=0.05)
    assert config.chain("encode").parameters / 1e6 == pytest.approx(19.3, abs=0.05)


def test_wan_2_1_has_the_same_chain() -> None:
    wan, qwen = config_of("wan2.1"), config_of("qwen-image")
    assert all(wan.chain(task) == qwen.chain(task) for task in ("decode", "encode"))
    assert wan.latents == qwen.latents
    narrow = config_from({"_class_name": "AutoencoderKLWan", "decoder_base_dim": 48})
    assert narrow.chain("decode").steps[-1].inputs == 48
    assert narrow.chain("encode") == qwen.chain("encode")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"is_residual": True, "_class_name": "AutoencoderKLWan"}, "patch_size must be 2 with is_residual"),
        ({"patch_size": 2, "_class_name": "AutoencoderKLWan"}, "patch_size must be 2 with is_residual, else null"),
        ({"in_channels": 0, "_class_name": "AutoencoderKLWan"}, "in_channels must be a whole number"),
        ({"decoder_base_dim": "6", "_class_name": "AutoencoderKLWan"}, "decoder_base_dim must be a whole number"),
        ({"attn_scales": [0.5]}, r"attn_scales must be \[\]"),
        ({"base_dim": 3}, "base_dim times dim_mult must be even"),
        ({"base_dim": 1 << 40}, "base_dim must be a whole number"),
        ({"dim_mult": []}, "dim_mult must list 1 to 8 multiples"),
        ({"dim_mult": [1, 0, 4, 4]}, r"dim_mult\[1\] must be a whole number"),
        ({"num_res_blocks": 30}, "num_res_blocks is 30: with 4 levels the decoder has 124 resnets"),
        ({"temperal_downsample": [True]}, "temperal_downsample must list 3 values"),
        ({"temperal_downsample": [1, 1, 1]}, "temperal_downsample must list true and false"),
        ({"latents_std": [1.0] * 15}, "latents_std must list 16 numbers"),
        ({"input_channels": 0}, "input_channels must be a whole number"),
        ({"norm_num_groups": 32}, "unknown keys .*'norm_num_groups'"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(change: dict[str, Any], problem: str) -> None:
    values = {name: value for name, value in QWEN.items() if "_class_name" not in change or name != "input_channels"}
    with pytest.raises(ConfigError, match=problem):
        config_from(values | change)


def two_dimensional() -> dict[str, np.ndarray]:
    """The weights as some publish them: convolutions without time, and none between frames."""
    spatial = {name: values for name, values in stored().items() if "time_conv" not in name}
    flat = {name: values[:, :, -1] if values.ndim == 5 else values for name, values in spatial.items()}
    return {name: np.ascontiguousarray(values) for name, values in flat.items()}


WAN = (
    (r"^(encoder|decoder)\.conv_in\.", r"\1.conv1."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.head.0."),
    (r"^(encoder|decoder)\.conv_out\.", r"\1.head.2."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"^encoder\.down_blocks\.", "encoder.downsamples."),
    (r"\.norm1\.gamma$", ".residual.0.gamma"),
    (r"\.norm2\.gamma$", ".residual.3.gamma"),
    (r"^post_quant_conv\.", "conv2."),
    (r"^quant_conv\.", "conv1."),
    (r"\.conv_shortcut\.", ".shortcut."),
)


def wan_name(name: str) -> str:
    """The name in Wan's own file, by the table of its repository."""
    if (resnet := re.match(r"decoder\.up_blocks\.(\d)\.resnets\.(\d)\.", name)) is not None:
        name = f"decoder.upsamples.{4 * int(resnet[1]) + int(resnet[2])}.{name[resnet.end() :]}"
    elif (upsampler := re.match(r"decoder\.up_blocks\.(\d)\.upsamplers\.0\.", name)) is not None:
        name = f"decoder.upsamples.{4 * int(upsampler[1]) + 3}.{name[upsampler.end() :]}"
    inside = re.search(r"samples\.\d+\.|resnets\.\d\.|down_blocks\.\d+\.", name) is not None
    for pattern, replacement in WAN:
        name = re.sub(pattern, replacement, name)
    if inside:
        name = re.sub(r"\.conv1\.(weight|bias)$", r".residual.2.\1", name)
        name = re.sub(r"\.conv2\.(weight|bias)$", r".residual.6.\1", name)
    return name


def test_every_name_of_wan_is_known() -> None:
    theirs = {wan_name(name): name for name in stored()}
    assert "decoder.middle.0.residual.0.gamma" in theirs
    assert "decoder.upsamples.3.resample.1.weight" in theirs
    assert len(theirs) == len(stored())
    found, ours = canonical_names(theirs), canonical_names(stored())
    assert found == {name: ours[own] for name, own in theirs.items()}


@pytest.mark.parametrize("form", ["2-D", "Wan", "behind a prefix"])
def test_files_of_every_form_hold_the_same_vae(form: str, tmp_path: Path) -> None:
    tensors = {
        "2-D": two_dimensional(),
        "Wan": {wan_name(name): values for name, values in stored().items()},
        "behind a prefix": {f"vae.{name}": values for name, values in stored().items()},
    }[form]
    save_file(tensors, tmp_path / "vae.safetensors")
    vae = VAE.load(tmp_path / "vae.safetensors", "float32", decoder_only=False, config=FOLDER / "config.json")
    assert vae.weights.keys() == loaded().weights.keys()
    for name, values in loaded().weights.items():
        assert bits(vae.weights[name]) == bits(values), name


def test_slices_before_the_last_change_nothing(tmp_path: Path) -> None:
    others = {name: values.copy() for name, values in stored().items()}
    for values in others.values():
        if values.ndim == 5:
            values[:, :, :-1] = 1
    save_file(others, tmp_path / "vae.safetensors")
    vae = VAE.load(tmp_path / "vae.safetensors", "float32", decoder_only=False, config=FOLDER / "config.json")
    assert all(bits(vae.weights[name]) == bits(values) for name, values in loaded().weights.items())


def test_other_families_take_no_3_d_convolution(tmp_path: Path) -> None:
    tiny = load_file(DATA / "taef1" / "diffusion_pytorch_model.safetensors")
    name = "decoder.layers.0.weight"
    tiny[name] = np.repeat(tiny[name][:, :, None], 3, axis=2)
    save_file(tiny, tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError, match=r"decoder\.layers\.0\.weight: \(8, 16, 3, 3, 3\) stored"):
        VAE.load(tmp_path / "vae.safetensors", config=DATA / "taef1" / "config.json")


def test_a_missing_part_of_the_attention_is_named(tmp_path: Path) -> None:
    tensors = {name: values for name, values in stored().items() if "mid_block.attentions.0.to_qkv.bias" not in name}
    save_file(tensors, tmp_path / "vae.safetensors")
    with pytest.raises(WeightsError, match=r"decoder\.mid_block\.attentions\.0\.to_q\.bias"):
        VAE.load(tmp_path / "vae.safetensors", config=FOLDER / "config.json")


def test_latents_of_every_form() -> None:
    latents = golden()["latents.2x17x3"][:, :, :16, :2]
    want = bits(loaded().decode(latents))
    assert bits(loaded().decode(latents[:, :, None])) == want
    cells = latents.reshape(2, 16, 8, 2, 1, 2).transpose(0, 2, 4, 1, 3, 5).reshape(2, 8, 64)
    assert bits(loaded().decode(Latents(cells, height=128, width=16))) == want
    with pytest.raises(LatentsError, match="hold 3 frames"):
        loaded().decode(np.zeros((1, 16, 3, 4, 4), np.float32))


def test_alpha_reaches_the_picture(tmp_path: Path) -> None:
    config = QwenImageConfig(
        base_dim=2, dim_mult=(1, 2), num_res_blocks=1, temperal_downsample=(True,), input_channels=4
    )
    vae = random_vae(config)
    latents = np.random.default_rng(0).standard_normal((1, 16, 6, 5)).astype(np.float32)
    picture = vae.decode(latents, "np")
    assert picture.shape == (1, 12, 10, 4)
    vae.decode_to_file(latents, tmp_path / "a.png")
    from PIL import Image

    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == "RGBA"
        assert np.abs(np.asarray(file) / 255 - picture[0]).max() <= 0.5 / 255 + 1e-6
    assert vae.encode(picture).mean.shape == latents.shape
    assert read_picture(tmp_path / "a.png", alpha=True).shape == (12, 10, 4)
    assert read_picture(tmp_path / "a.png").shape == (12, 10, 3)


def test_the_command_line_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_latent_file("a.safetensors", Latents(golden()["latents.1x5x9"], "NCHW"))
    run("decode", "a.safetensors", "-o", "a.png", "--vae", FOLDER, "-q")
    run("encode", "a.png", "-o", "b.npy", "--vae", FOLDER, "-q")
    assert np.load("b.npy").shape == (1, 16, 5, 9)
    said = run("inspect", FOLDER).output
    assert "AutoencoderKLQwenImage" in said
    assert "with a mean and a deviation for each channel" in said
    assert json.loads(run("plan", "1024", "--vae", "qwen-image", "--json").output)["predicted"]["peak"] > 0
    assert plan("qwen-image", 1024, 1024, "1GB", quality="tiles").exact
