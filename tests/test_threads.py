"""Lazy arrays of another thread cannot be computed here: every door refuses them and names the remedy."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.leftovers import nothing_left
from tests.support.models import random_images, random_latents, random_vae
from tests.support.plans import bits
from zvae_tiled import decode_tiled, write_latent_file
from zvae_tiled.errors import ImageError, InputError, LatentsError
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.dc import DCConfig
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.inputs.latent_space import LatentDistribution

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 4), norm_num_groups=2)
VAE = random_vae(CONFIG)
WITHOUT_BIASES = {
    "tiny": TinyConfig(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ),
    "dc": DCConfig(
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
    ),
}
LATENTS, IMAGES = random_latents(CONFIG, 3, 4), random_images(CONFIG, 3, 4)

DOORS: dict[str, Callable[[Any, Path], Any]] = {
    "decode": lambda array, folder: VAE.decode(array),
    "decode_tiled": lambda array, folder: decode_tiled(array, vae=VAE),
    "stream": lambda array, folder: list(VAE.stream(array)),
    "decode_to_file": lambda array, folder: VAE.decode_to_file(array, folder / "a.png"),
    "write_latent_file": lambda array, folder: write_latent_file(folder / "a.npz", array),
    "encode": lambda array, folder: VAE.encode(array),
}


def of_another_thread(values: np.ndarray, dtype: mx.Dtype, evaluated: bool) -> mx.array:
    def made() -> mx.array:
        array = (mx.array(values) * 1).astype(dtype)
        if evaluated:
            mx.eval(array)
        return array

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(made).result()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_a_lazy_array_of_another_thread_is_refused_with_the_way_out(door: str, dtype: mx.Dtype, tmp_path: Path) -> None:
    what, error = ("images", ImageError) if door == "encode" else ("latents", LatentsError)
    lazy = of_another_thread(IMAGES if door == "encode" else LATENTS, dtype, evaluated=False)
    with nothing_left(tmp_path), pytest.raises(InputError, match="made in another thread") as refused:
        DOORS[door](lazy, tmp_path)
    assert type(refused.value) is error
    assert f"mx.eval({what})" in refused.value.advice


@pytest.mark.parametrize("door", DOORS)
def test_an_array_that_was_computed_there_is_taken(door: str, tmp_path: Path) -> None:
    own = IMAGES if door == "encode" else LATENTS
    files, both = list[dict[str, bytes]](), list[Any]()
    for array in (of_another_thread(own, mx.float32, evaluated=True), own):
        both.append(DOORS[door](array, tmp_path))
        files.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert files[0] == files[1]
    found, want = both
    if isinstance(want, list):
        assert [bits(rows) for rows in found] == [bits(rows) for rows in want]
    elif isinstance(want, mx.array):
        assert bits(found) == bits(want)
    elif isinstance(want, LatentDistribution):
        assert bits(found.mean) == bits(want.mean)


@pytest.mark.parametrize("family", WITHOUT_BIASES)
def test_a_vae_decodes_in_another_thread_than_it_was_loaded_in(family: str) -> None:
    config = WITHOUT_BIASES[family]
    latents, here = random_latents(config, 2, 2), random_vae(config)
    with ThreadPoolExecutor(1) as thread:
        there = thread.submit(random_vae, config).result()
        found = thread.submit(here.decode, latents, "np").result()
    assert np.array_equal(there.decode(latents, "np"), found)


def test_a_lazy_array_of_this_thread_is_taken() -> None:
    assert bits(VAE.decode(mx.array(LATENTS) * 1)) == bits(VAE.decode(LATENTS))
