"""TAESD's own files, one for each half, and ComfyUI's, which joins them: loaded, decoded and encoded as in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.families.test_tiny import error
from tests.support.models import random_tensors, torch_shapes
from tests.support.plans import bits
from tests.support.samples import examples
from tests.support.tiny64 import TAEF1, TAEQI, TAESANA, Weights, run64
from zvae_tiled import VAE, config_of
from zvae_tiled.errors import ConfigError
from zvae_tiled.families import config_from
from zvae_tiled.families.tiny import PRESETS, TinyConfig
from zvae_tiled.weights.tiny_names import diffusers_names

IMAGES = [name for name, config in PRESETS.items() if not config.memory]
MODULES = dict.fromkeys(IMAGES, TAEF1) | {"taesana": TAESANA, "taeqi2_1": TAEQI}


class Halves(NamedTuple):
    """A narrow model: its config, and the weights of each half in their own names."""

    config: TinyConfig
    decoder: Weights
    encoder: Weights


def narrowed(preset: str) -> TinyConfig:
    config = PRESETS[preset]
    return replace(
        config,
        encoder_block_out_channels=tuple(width // 8 for width in config.encoder_block_out_channels),
        decoder_block_out_channels=tuple(width // 8 for width in config.decoder_block_out_channels),
        encoder_stem=tuple(width // 8 for width in config.encoder_stem),
    )


def random_halves(preset: str, seed: int = 0) -> Halves:
    config = narrowed(preset)
    halves: dict[str, Weights] = {"decoder": {}, "encoder": {}}
    for name, values in random_tensors(torch_shapes(config), seed).items():
        half, _, number, rest = name.split(".", 3)
        halves[half][f"{int(number) + (half == 'decoder')}.{rest}"] = values
    return Halves(config, **halves)


def own(halves: Halves, folder: Path) -> Path:
    save_file(halves.encoder, folder / "tae_encoder.safetensors")
    save_file(halves.decoder, folder / "tae_decoder.safetensors")
    return folder


def joined(halves: Halves, folder: Path) -> Path:
    """As ComfyUI joins them, with the scale and the shift of a pipeline whose latents have neither."""
    tensors = {f"taesd_decoder.{name}": values for name, values in halves.decoder.items()}
    tensors |= {f"taesd_encoder.{name}": values for name, values in halves.encoder.items()}
    tensors |= {"vae_scale": np.array(0.3611, np.float32), "vae_shift": np.array(0.1159, np.float32)}
    save_file(tensors, folder / "tae.safetensors")
    return folder / "tae.safetensors"


@pytest.mark.parametrize("preset", IMAGES)
@pytest.mark.sample(2)
def test_every_form_decodes_and_encodes_as_in_float64(preset: str, tmp_path: Path) -> None:
    halves, rng = random_halves(preset), np.random.default_rng(1)
    vae, comfy = (
        VAE.load(form(halves, tmp_path), "float32", decoder_only=False, config=halves.config) for form in (own, joined)
    )
    assert {name: bits(values) for name, values in vae.weights.items()} == {
        name: bits(values) for name, values in comfy.weights.items()
    }
    patch, scale = halves.config.patch, halves.config.scale
    latents = 2 * rng.standard_normal((1, halves.config.latent_channels, 2 * patch, 3 * patch)).astype(np.float32)
    want = run64(MODULES[preset][0], halves.decoder, latents[0].transpose(1, 2, 0).astype(np.float64))
    found = np.asarray(vae.decode(packed(latents, patch), "np", raw=True))[0] / 2 + 0.5
    assert error(found, want) < 3e-5
    image = rng.random((2 * patch * scale, patch * scale, halves.config.in_channels), np.float32)
    encoded = run64(MODULES[preset][1], halves.encoder, image.astype(np.float64)).transpose(2, 0, 1)[None]
    assert error(vae.encode(image).mode(), packed(encoded, patch)) < 1e-5


def packed(latents: np.ndarray, patch: int) -> np.ndarray:
    """Pack as FLUX.2 does: latents at row dy and column dx of a square become channel 4c + 2dy + dx."""
    if patch == 1:
        return latents
    squares = [latents[:, :, down::2, right::2] for down in (0, 1) for right in (0, 1)]
    return np.stack(squares, axis=2).reshape(latents.shape[0], -1, *squares[0].shape[2:])


def test_one_half_is_enough_to_decode(tmp_path: Path) -> None:
    halves = random_halves("taef1")
    save_file(halves.decoder, tmp_path / "any.safetensors")
    alone = VAE.load(tmp_path / "any.safetensors", config=halves.config)
    both = VAE.load(own(halves, tmp_path) / "tae_encoder.safetensors", config=halves.config)
    assert alone.weights.keys() == both.weights.keys()


NUMBERED = st.builds("{}.{}".format, st.integers(0, 99), st.sampled_from(["weight", "conv.0.bias", "pool.1.weight"]))


@given(st.sets(NUMBERED, min_size=1), st.booleans())
@examples(50)
def test_only_files_with_nothing_but_layers_are_renamed(names: set[str], encoder: bool) -> None:
    names = {name for name in names if not name.startswith("0.")} | ({"0.weight"} if encoder else {"1.weight"})
    found = diffusers_names(names)
    assert found.keys() == names
    assert len(set(found.values())) == len(names)
    assert all(name.startswith("encoder.layers." if encoder else "decoder.layers.") for name in found.values())
    assert diffusers_names({*names, "decoder.conv_in.weight"}) == {
        name: name for name in {*names, "decoder.conv_in.weight"}
    }


def test_published_shapes() -> None:
    taef2, taesana = config_of("taef2"), config_of("taesana")
    assert (taef2.latents.channels, taef2.cell, taesana.latents.channels, taesana.cell) == (128, 16, 32, 32)
    assert [len(config.chain("decode").barriers) for config in (taef2, taesana)] == [3, 0]
    assert [len(config.chain("encode").barriers) for config in (taef2, taesana)] == [3, 0]
    taeqi = config_of("taeqi2_1")
    assert (taeqi.latents.channels, taeqi.latents.token, taeqi.cell, taeqi.picture_channels) == (64, 1, 16, 4)
    assert not taeqi.chain("decode").barriers
    assert taef2.chain("decode").parameters / 1e6 == pytest.approx(1.34, abs=0.01)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pools": 1}, "pools must be true or false"),
        ({"patch": 3}, "patch must be a whole number from 1 to 2"),
        ({"packs": 1}, "packs must be true or false"),
        ({"packs": True, "encoder_stem": [64]}, "packs must be false with encoder_stem"),
        ({"encoder_stem": 3}, "encoder_stem must list at most 8 widths"),
        ({"encoder_stem": [0]}, r"encoder_stem\[0\] must be a whole number"),
        ({"encoder_stem": [64, 32]}, "encoder_stem must end with the encoder's first width, 64, it ends with 32"),
        ({"encoder_stem": [64]}, "it lists 4, they list 5"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config_from({"_class_name": "AutoencoderTiny", **change})
