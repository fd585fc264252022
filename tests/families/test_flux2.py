"""FLUX.2: AutoencoderKL's network behind packed latents that stored statistics normalise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoints import Blob, write
from tests.support.float64 import decode64, encode64, ready_images
from tests.support.models import (
    random_images,
    random_tensors,
    random_vae,
    save_random,
    torch_shapes,
    whole_decode,
    whole_encode,
)
from tests.support.plans import bits, plan_for
from tests.support.running import run, save_vae
from tests.support.samples import examples
from zvae_tiled import VAE, Latents, config_of, plan, read_latent_file, write_latent_file
from zvae_tiled.chain import ATTENTION
from zvae_tiled.errors import BudgetError, ConfigError, ImageError, LatentsError, PlanError, WeightsError
from zvae_tiled.families import VAEConfig, config_from
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.inputs.latent_space import LatentDistribution, packed, unpacked
from zvae_tiled.jobs.decode import ready_latents
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality, Tiles

DEV: dict[str, Any] = {
    "_class_name": "AutoencoderKLFlux2",
    "_diffusers_version": "0.36.0.dev0",
    "act_fn": "silu",
    "batch_norm_eps": 0.0001,
    "batch_norm_momentum": 0.1,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 32,
    "layers_per_block": 2,
    "mid_block_add_attention": True,
    "norm_num_groups": 32,
    "out_channels": 3,
    "patch_size": [2, 2],
    "sample_size": 1024,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_post_quant_conv": True,
    "use_quant_conv": True,
}
"""The config.json of FLUX.2-dev, and of FLUX.2-klein."""

SMALL = Flux2Config(latent_channels=4, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2)
"""Two levels: one pixel of the packed map stands for 4x4 of the picture."""

CELL = 4
PACKED = 4 * SMALL.latent_channels
MEAN, VARIANCE = "bn.running_mean", "bn.running_var"


def random_packed(config: Flux2Config, height: int, width: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    """A pipeline's map, NCHW."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((batch, config.latents.channels, height, width)).astype(np.float32)


# ---- the config


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


# ---- the latents


def decoders(vae: VAE, latents: np.ndarray, eps: float) -> np.ndarray:
    """A pipeline's latents as the decoder reads them, from the formula, value by value, in float64: NHWC."""
    mean, variance = (np.asarray(vae.weights[name]).astype(np.float64) for name in (MEAN, VARIANCE))
    batch, channels, height, width = latents.shape
    ready = np.zeros((batch, 2 * height, 2 * width, channels // 4))
    for c in range(channels // 4):
        for dy in (0, 1):
            for dx in (0, 1):
                k = 4 * c + 2 * dy + dx
                ready[:, dy::2, dx::2, c] = latents[:, k].astype(np.float64) * np.sqrt(variance[k] + eps) + mean[k]
    return ready


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_a_pipelines_latents_are_denormalised_and_then_unpacked(batch: int, height: int, width: int, seed: int) -> None:
    vae = random_vae(SMALL, seed=seed)
    latents = random_packed(SMALL, height, width, batch, seed)
    ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), SMALL, vae.weights, mx.float32, scaled=True)
    want = decoders(vae, latents, 1e-4)
    assert ready.shape == want.shape == (batch, 2 * height, 2 * width, SMALL.latent_channels)
    assert np.abs(np.asarray(ready) - want).max() < 1e-6 * np.abs(want).max()


def test_the_eps_of_the_config_counts() -> None:
    vae, latents = random_vae(SMALL), random_packed(SMALL, 3, 2)
    wide = VAE(replace(SMALL, batch_norm_eps=0.5), vae.weights, vae.dtype)
    ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), wide.config, wide.weights, mx.float32, scaled=True)
    assert np.abs(np.asarray(ready) - decoders(vae, latents, 0.5)).max() < 1e-5
    assert np.abs(np.asarray(ready) - decoders(vae, latents, 1e-4)).max() > 0.1


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.sampled_from([1, 2, 3]))
def test_packing_undoes_unpacking(batch: int, height: int, width: int, channels: int, patch: int) -> None:
    array = mx.random.normal((batch, height, width, channels * patch**2))
    assert mx.array_equal(packed(unpacked(array, patch), patch), array)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_latents_that_are_not_scaled_are_only_unpacked(dtype: str) -> None:
    vae, latents = random_vae(SMALL, dtype), random_packed(SMALL, 3, 2)
    mean, variance = (np.asarray(vae.weights[name])[:, None, None] for name in (MEAN, VARIANCE))
    own = latents * np.sqrt(variance + np.float32(1e-4)) + mean
    near = np.asarray(vae.decode(Latents(own, scaled=False), "np", raw=True)).astype(np.float32)
    want = np.asarray(vae.decode(latents, "np", raw=True)).astype(np.float32)
    assert np.abs(near - want).max() < (1e-4 if dtype == "float32" else 0.1) * want.std()
    assert np.abs(near - np.asarray(vae.decode(own, "np", raw=True)).astype(np.float32)).max() > 0.2 * want.std()


def test_tokens_of_all_packed_channels_need_the_pictures_size() -> None:
    vae, latents = random_vae(SMALL), random_packed(SMALL, 3, 2, batch=2)
    tokens = latents.reshape(2, PACKED, 6).transpose(0, 2, 1)  # one token for each pixel of the map, row by row
    want = bits(vae.decode(latents))
    assert bits(vae.decode(Latents(tokens, height=12, width=8))) == want
    assert bits(vae.decode(Latents(tokens, height=15, width=11))) == want  # a pipeline rounds down to whole tokens
    assert bits(vae.decode(Latents(latents.transpose(0, 2, 3, 1), "NHWC"))) == want
    assert bits(vae.decode(Latents(tokens[0], height=12, width=8))) == bits(vae.decode(latents[:1]))
    assert bits(vae.decode(Latents(tokens, height=8, width=12))) != want
    with pytest.raises(LatentsError, match=r"have the shape \(B, 12, 16\)"):
        vae.decode(Latents(tokens, height=16, width=12))
    with pytest.raises(LatentsError, match="16 channels") as refused:
        vae.decode(tokens)
    assert "pass Latents(tokens, height=…, width=…)" in refused.value.advice


def test_the_vaes_own_channels_are_no_pipelines_latents() -> None:
    """32 channels of FLUX.2 are what the decoder reads; a pipeline hands over 128."""
    with pytest.raises(LatentsError, match="this VAE's latents have 16 channels"):
        random_vae(SMALL).decode(np.zeros((1, SMALL.latent_channels, 4, 4), np.float32))


def test_latents_go_through_files_and_the_command_line(tmp_path: Path) -> None:
    save_vae(tmp_path / "vae", SMALL)
    latents = random_packed(SMALL, 3, 5)
    write_latent_file(tmp_path / "a.safetensors", Latents(latents.reshape(1, PACKED, 15).swapaxes(1, 2), None, 12, 20))
    vae = VAE.load(tmp_path / "vae")
    assert bits(vae.decode(read_latent_file(tmp_path / "a.safetensors"))) == bits(vae.decode(latents))
    run("decode", tmp_path / "a.safetensors", "-o", tmp_path / "a.npy", "--vae", tmp_path / "vae")
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.asarray(vae.decode(latents))[0])
    told = run("inspect", tmp_path / "vae").stdout
    for line in (
        "family     AutoencoderKLFlux2",
        "latents    16 channels, one for 4x4 pixels",
        "widths     4, 8",
        "scaling    normalised by bn.running_mean and bn.running_var",
    ):
        assert line in told


# ---- decode and encode

SIDE = 80
"""Latents a side, where they are most of what a decode holds."""


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, decoder_block_out_channels=(6, 12))])
def test_decode_and_encode_equal_plain_numpy_in_float64(config: Flux2Config) -> None:
    vae = random_vae(config)
    latents, images = random_packed(config, 3, 4), random_images(config, 3, 4)
    want = decode64(vae, latents)
    got = vae.decode(latents, "np", raw=True)
    assert np.abs(got - want).max() < 1e-4 * want.std()
    mean, logvar = np.split(encode64(vae, images), 2, axis=-1)
    channels = range(PACKED)
    bn = [np.asarray(vae.weights[name]).astype(np.float64) for name in (MEAN, VARIANCE)]
    found = vae.encode(images)
    for half, own in (("mean", mean), ("logvar", logvar)):
        got = np.asarray(getattr(found, half))
        assert got.shape == (1, PACKED, 3, 4)
        for k in channels:
            c, dy, dx = k // 4, k // 2 % 2, k % 2
            cell = own[:, dy::2, dx::2, c]
            spread = np.sqrt(bn[1][k] + 1e-4)
            want = (cell - bn[0][k]) / spread if half == "mean" else cell - 2 * np.log(spread)
            assert np.abs(got[:, k] - want).max() < 1e-4 * max(1, np.abs(want).max())


@examples(20)
@given(st.randoms(use_true_random=False), st.sampled_from(["float32", "bfloat16"]))
def test_bands_of_any_height_equal_the_reference(rng: Random, dtype: str) -> None:
    config = replace(
        SMALL,
        latent_channels=rng.choice([1, 2, 5]),
        decoder_block_out_channels=rng.choice([None, (6, 10), (12, 6)]),
        mid_block_add_attention=rng.random() < 0.7,
        use_post_quant_conv=rng.random() < 0.7,
    )
    vae = random_vae(config, dtype, rng.randrange(100))
    height, width = rng.randint(1, 6), rng.randint(1, 6)
    latents = random_packed(config, height, width, seed=rng.randrange(100))
    made = plan_for(vae, latents.shape, rng)
    ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), config, vae.weights, vae.dtype, scaled=True)
    want = np.asarray(whole_decode(vae, ready).astype(mx.float32))
    got = np.asarray(vae.decode(latents, raw=True, plan=made).astype(mx.float32))
    near = 1e-4 if dtype == "float32" else 0.15
    assert np.abs(got - want).max() < near * max(want.std(), 0.1)


def test_any_two_budgets_give_the_same_bits_and_keep_the_promise() -> None:
    for seed, dtype in enumerate(["float32", "bfloat16"]):
        vae = random_vae(SMALL, dtype, seed)
        latents, images = random_packed(SMALL, 24, 17, 2), random_images(SMALL, 24, 17, 2)
        for do in (vae.decode, vae.encode):
            given_ = latents if do == vae.decode else images
            with pytest.raises(BudgetError) as refused:
                do(given_, budget="1kB")
            found = []
            for budget in (refused.value.needed, 2 * refused.value.needed, 10**9):
                result, report = do(given_, budget=f"{budget}B", return_report=True)
                found.append(bits(result.mean if isinstance(result, LatentDistribution) else result))
                assert 0 < report.measured_peak <= report.predicted_peak <= report.budget == budget
            assert len(set(found)) == 1


@pytest.mark.parametrize("family", [Flux2Config, AutoencoderKLConfig])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("given_", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("scaled", [True, False])
def test_latents_that_are_most_of_a_decode_are_counted(
    family: Callable[..., VAEConfig], dtype: str, given_: mx.Dtype, scaled: bool
) -> None:
    """In pictures of some hundred megapixels they are; where a VAE has few other channels, in any."""
    config = family(latent_channels=64, block_out_channels=(1, 1), layers_per_block=1, norm_num_groups=1)
    vae, side = random_vae(config, dtype), SIDE // config.latents.patch
    latents = Latents(mx.random.normal((1, config.latents.channels, side, side)).astype(given_), scaled=scaled)
    with pytest.raises(BudgetError) as refused:
        vae.decode(latents, budget="1kB")
    report = vae.decode(latents, budget=f"{refused.value.needed}B", return_report=True)[1]
    arrays = report.predicted_peak - PROCESS
    assert 0.2 * arrays < 4 * SIDE * SIDE * 64
    assert report.measured_peak <= arrays < report.predicted_peak <= report.budget


@pytest.mark.parametrize("quality", ["stream", Tiles(24, 16), Tiles(24, 8, moments="tile")])
def test_other_qualities_decode_it_too(quality: str | Quality) -> None:
    vae, latents = random_vae(SMALL), random_packed(SMALL, 8, 9)
    picture, report = vae.decode(latents, "np", quality=quality, return_report=True)
    assert picture.shape == (1, 32, 36, 3)
    want = vae.decode(latents, "np")
    if report.exact:
        assert np.abs(picture - want).max() < 1e-4
    assert np.abs(picture - want).mean() < 0.2


def test_a_picture_comes_back_in_its_size() -> None:
    vae, images = random_vae(SMALL), random_images(SMALL, 3, 5, batch=2)
    latents = vae.encode(images).mode()
    assert latents.shape == (2, PACKED, 3, 5)
    assert vae.decode(latents, "np").shape == images.shape


def test_what_is_encoded_is_what_the_decoder_reads() -> None:
    """Denormalised and unpacked again, the mode is the encoder's own mean."""
    vae, images = random_vae(SMALL), random_images(SMALL, 3, 5)
    own = whole_encode(vae, ready_images(vae, images))[..., : SMALL.latent_channels]
    mode = vae.encode(images).mode().transpose(0, 2, 3, 1)
    ready = ready_latents(mode, SMALL, vae.weights, vae.dtype, scaled=True)
    assert np.abs(np.asarray(ready) - np.asarray(own)).max() < 1e-5


def test_a_sample_spreads_as_the_encoder_says() -> None:
    vae, images = random_vae(SMALL), random_images(SMALL, 3, 5)
    found = vae.encode(images)
    draws = np.stack([np.asarray(found.sample(mx.random.key(seed))) for seed in range(400)])
    spread = np.exp(np.asarray(found.logvar) / 2)
    assert np.abs(draws.mean(0) - np.asarray(found.mean)).max() < 0.3 * spread.max()
    assert np.allclose(draws.std(0) / spread, 1, atol=0.2)


@pytest.mark.parametrize("side", [2, 6, 13])
def test_pictures_are_whole_packed_pixels(side: int) -> None:
    vae = random_vae(SMALL)
    with pytest.raises(ImageError, match=f"{CELL}"):
        vae.encode(np.zeros((1, side, 8, 3), np.float32))
    with pytest.raises(PlanError, match=f"height must be a multiple of {CELL}"):
        vae.plan(side, 8)
    with pytest.raises(PlanError, match="width must be a multiple of 16"):
        plan("flux2", 64, 16 * side + 8, "8GB")


# ---- the weights


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_stay_float32_whatever_the_type_is(dtype: str, tmp_path: Path) -> None:
    vae = VAE.load(save_vae(tmp_path / "vae", SMALL), dtype, decoder_only=False)
    kinds = {name: array.dtype for name, array in vae.weights.items()}
    assert {name for name, kind in kinds.items() if kind == mx.float32} == {MEAN, VARIANCE}
    assert set(kinds.values()) == {mx.float32, getattr(mx, dtype)}
    stored = random_tensors(torch_shapes(SMALL))
    for name in (MEAN, VARIANCE):
        assert np.array_equal(np.asarray(vae.weights[name]), stored[name])
    latents = random_packed(SMALL, 4, 4)
    assert bits(vae.decode(latents)) == bits(random_vae(SMALL, dtype).decode(latents))


def test_the_counter_of_the_batch_norm_is_ignored(tmp_path: Path) -> None:
    tensors: dict[str, Any] = dict(random_tensors(torch_shapes(SMALL)))
    tensors["bn.num_batches_tracked"] = Blob("I64", np.array(7))
    vae = VAE.load(write(tmp_path / "a.safetensors", tensors), "float32", decoder_only=False, config=SMALL)
    assert "bn.num_batches_tracked" not in vae.weights
    assert vae.weights.keys() == torch_shapes(SMALL).keys()


@pytest.mark.parametrize("gone", [MEAN, VARIANCE])
def test_without_its_statistics_it_is_refused(gone: str, tmp_path: Path) -> None:
    tensors = random_tensors(torch_shapes(SMALL))
    del tensors[gone]
    with pytest.raises(WeightsError, match=rf"(?s)missing \(1\):.*{re.escape(gone)}"):
        VAE.load(write(tmp_path / "a.safetensors", tensors), config=SMALL)


def test_a_vae_of_another_family_is_not_taken_for_it(tmp_path: Path) -> None:
    network = SMALL._network("decode")
    save_random(network, tmp_path / "kl.safetensors")
    with pytest.raises(WeightsError, match=r"bn\.running_mean"):
        VAE.load(tmp_path / "kl.safetensors", config=SMALL)
    save_random(SMALL, tmp_path / "flux2.safetensors")
    with pytest.raises(WeightsError, match=r"(?s)not part of this VAE \(2\):.*bn\.running_mean"):
        VAE.load(tmp_path / "flux2.safetensors", config=network)


def bfl_name(name: str, levels: int) -> str:
    """What Black Forest Labs call a tensor, from their model's source."""
    name = re.sub(r"^(quant_conv\.)", r"encoder.\1", name)
    name = re.sub(r"^(post_quant_conv\.)", r"decoder.\1", name)
    name = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.", r"encoder.down.\1.block.", name)
    name = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0\.", r"encoder.down.\1.downsample.", name)

    def level(found: re.Match[str]) -> str:
        inside = {"resnets": "block", "upsamplers.0": "upsample"}[found[2]]
        return f"decoder.up.{levels - 1 - int(found[1])}.{inside}."

    name = re.sub(r"decoder\.up_blocks\.(\d)\.(resnets|upsamplers\.0)\.", level, name)
    name = re.sub(r"mid_block\.resnets\.(\d)\.", lambda found: f"mid.block_{int(found[1]) + 1}.", name)
    name = name.replace("mid_block.attentions.0.", "mid.attn_1.").replace("conv_shortcut", "nin_shortcut")
    name = name.replace("attn_1.group_norm", "attn_1.norm").replace("conv_norm_out", "norm_out")
    for ours, theirs in zip(ATTENTION, ("q", "k", "v", "proj_out"), strict=True):
        name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
    return name


@pytest.mark.parametrize("decoder_only", [True, False])
def test_the_original_names_load(decoder_only: bool, tmp_path: Path) -> None:
    tensors: dict[str, Any] = {}
    names = set()
    for name, values in random_tensors(torch_shapes(SMALL)).items():
        theirs = bfl_name(name, len(SMALL.block_out_channels))
        attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", theirs)
        tensors[theirs] = values[:, :, None, None] if attention else values  # 1x1 convolutions there
        names.add(theirs)
    assert {"encoder.quant_conv.weight", "decoder.post_quant_conv.bias", "bn.running_mean"} <= names
    assert {"decoder.up.1.block.0.conv1.weight", "encoder.mid.attn_1.q.weight", "encoder.norm_out.bias"} <= names
    tensors["bn.num_batches_tracked"] = Blob("I64", np.array(7))
    vae = VAE.load(write(tmp_path / "ae.safetensors", tensors), "float32", decoder_only, config=SMALL)
    want = random_vae(SMALL)
    assert decoder_only != any(name.startswith("encoder.") for name in vae.weights)
    assert all(mx.array_equal(array, want.weights[name]) for name, array in vae.weights.items())
    latents = random_packed(SMALL, 3, 4)
    assert bits(vae.decode(latents)) == bits(want.decode(latents))


# ---- the published sizes


@pytest.mark.parametrize("widths", [None, (96, 192, 384, 384)])
def test_the_published_sizes_are_planned(widths: tuple[int, ...] | None) -> None:
    config = config_from(DEV | {"decoder_block_out_channels": widths and list(widths)})
    made = plan(config, 2048, 1536, "4GB")
    assert (made.case.height, made.case.width) == (256, 192)  # the VAE's own latents
    assert made.predicted_peak <= 4e9
    tight = plan(config, 2048, 1536, "700MB")
    assert tight.predicted_peak <= 7e8


def test_groups_of_three_channels_decode() -> None:
    """The small decoder's narrowest norms have 32 groups of 3: no power of two."""
    config = Flux2Config(
        latent_channels=2,
        block_out_channels=(32, 64),
        decoder_block_out_channels=(96, 96),
        layers_per_block=1,
        norm_num_groups=32,
    )
    latents = random_packed(config, 3, 2)
    for dtype, near in (("float32", 1e-4), ("bfloat16", 0.1)):
        vae = random_vae(config, dtype)
        ready = ready_latents(mx.array(latents.transpose(0, 2, 3, 1)), config, vae.weights, vae.dtype, scaled=True)
        want = np.asarray(whole_decode(vae, ready).astype(mx.float32))
        got = np.asarray(vae.decode(latents, raw=True).astype(mx.float32))
        assert np.abs(got - want).max() < near * want.std()
