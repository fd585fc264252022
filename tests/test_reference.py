"""The reference, a Chain on whole maps: near to float64, of one type throughout, pictures of a batch kept apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from tests.support.float64 import decode64, encode64, ready_images, ready_latents
from tests.support.models import (
    narrow,
    random_images,
    random_latents,
    random_tensors,
    random_vae,
    whole_decode,
    whole_encode,
)
from zvae_tiled import VAE
from zvae_tiled.chain import Norm, Step
from zvae_tiled.chain import whole as reference
from zvae_tiled.errors import ImageError, InputError
from zvae_tiled.families import VAEConfig
from zvae_tiled.families.flux2 import Flux2Config
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.inputs.arrays import OutputType
from zvae_tiled.inputs.latent_space import unscale_latents
from zvae_tiled.weights.vae import shapes_of

FLUX, SD = narrow("flux1"), narrow("sd1")
FLUX2 = Flux2Config(
    latent_channels=4, block_out_channels=(8, 8, 16), decoder_block_out_channels=(4, 8, 8), norm_num_groups=4
)


@contextmanager
def every_map(seen: list[mx.array]) -> Iterator[None]:
    """Collect the arguments and results of every norm, Step and linear map."""

    def recording(original: Callable[..., mx.array]) -> Callable[..., mx.array]:
        def call(*arguments: Any) -> mx.array:
            seen.extend(argument for argument in arguments if isinstance(argument, mx.array))
            seen.append(original(*arguments))
            return seen[-1]

        return call

    with pytest.MonkeyPatch.context() as patch:
        tables: list[dict[str, Any]] = [reference.NORMS, reference.KINDS]
        for table in tables:
            for kind, compute in list(table.items()):
                patch.setitem(table, kind, recording(compute))
        patch.setattr(reference, "linear", recording(reference.linear))
        yield


def ready(config: VAEConfig, *size: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    """Latents as the decoder reads them."""
    return mx.array(random_latents(config, *size).transpose(0, 2, 3, 1)).astype(dtype)


@pytest.mark.parametrize("config", [FLUX, SD, FLUX2], ids=["flux1", "sd1", "flux2"])
def test_whole_maps_are_those_of_float64(config: VAEConfig) -> None:
    vae = random_vae(config)
    latents, images = random_latents(config, 3, 5, batch=2), random_images(config, 3, 2)
    for got, want in (
        (whole_decode(vae, ready_latents(vae, latents)), decode64(vae, latents)),
        (whole_encode(vae, ready_images(vae, images)), encode64(vae, images)),
    ):
        assert np.abs(np.asarray(got) - want).max() < 2e-5 * want.std()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("config", [FLUX, SD])
@pytest.mark.sample(4)
def test_no_intermediate_changes_the_type(config: VAEConfig, dtype: str) -> None:
    vae = random_vae(config, dtype)
    seen: list[mx.array] = []
    with every_map(seen):
        raw = whole_decode(vae, ready(config, 3, 5, dtype=vae.dtype))
        moments = whole_encode(vae, mx.full((1, 16, 24, 3), 0.25).astype(vae.dtype))
    posterior = vae.encode(np.full((16, 24, 3), 0.25, np.float32))
    assert len(seen) > 100
    assert {array.dtype for array in seen} == {vae.dtype}
    assert vae.decode(random_latents(config, 3, 5), raw=True).dtype == vae.dtype
    found = (raw, moments, posterior.mean, posterior.logvar, posterior.sample(mx.random.key(0)))
    assert {array.dtype for array in found} == {vae.dtype}


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_scale_and_shift_are_undone_in_the_latents_own_type(dtype: mx.Dtype) -> None:
    own = mx.array(random_latents(FLUX, 3, 5)).astype(dtype)
    # Each of the two operations rounds once to the latents' type, as torch's do.
    divided = mx.array(np.asarray(own.astype(mx.float32)) / np.float32(0.3611)).astype(dtype)
    want = mx.moveaxis(mx.array(np.asarray(divided.astype(mx.float32)) + np.float32(0.1159)).astype(dtype), 1, -1)
    vae = random_vae(FLUX)
    assert mx.array_equal(unscale_latents(mx.moveaxis(own, 1, -1), FLUX.latents, vae.weights), want).item()
    assert np.allclose(vae.decode(own, raw=True), whole_decode(vae, want.astype(mx.float32)), atol=1e-4)


def test_group_norm_in_bfloat16_keeps_a_small_spread_on_a_large_mean() -> None:
    values = np.random.default_rng(0).normal(100, 1, (1, 9, 9, 8)).astype(np.float32)
    x, weights = mx.array(values).astype(mx.bfloat16), {"norm.weight": mx.ones(8), "norm.bias": mx.zeros(8)}
    exact = np.asarray(x.astype(mx.float32), np.float64).reshape(81, 2, 4)
    want = (exact - exact.mean((0, 2), keepdims=True)) / exact.std((0, 2), keepdims=True)
    normal = reference.group_norm(x, Norm("norm", groups=2), weights)
    got = np.asarray(normal.astype(mx.float32)).reshape(81, 2, 4)
    assert np.abs(got - want).max() < 0.02  # half a bfloat16 step at the largest value, 4


@pytest.mark.parametrize("at_once", [1, 4, 34])
def test_attention_in_chunks_equals_attention_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step("attention", "attention", 8, 8, kernel=1)
    weights = {name: mx.array(values) for name, values in random_tensors(step.shapes).items()}
    x = mx.random.normal((2, 5, 7, 8), key=mx.random.key(0))
    whole = reference.attention(step, weights, x)
    monkeypatch.setattr(reference, "QUERIES_AT_ONCE", at_once)
    assert np.allclose(np.asarray(reference.attention(step, weights, x)), np.asarray(whole), atol=1e-6)


def test_a_batch_is_its_pictures_one_by_one() -> None:
    vae = random_vae(SD)
    latents = random_latents(SD, 3, 5, batch=3)
    together, whole = vae.decode(latents, output_type="np"), whole_decode(vae, ready_latents(vae, latents))
    for i in range(3):
        assert np.allclose(vae.decode(latents[i], output_type="np")[0], together[i], atol=1e-6)
        assert np.allclose(whole_decode(vae, ready_latents(vae, latents[i : i + 1]))[0], whole[i], atol=1e-5)


def test_output_types() -> None:
    vae, latents = random_vae(FLUX), random_latents(FLUX, 2, 3)
    array = vae.decode(latents)
    assert isinstance(array, mx.array)
    assert (array.shape, array.dtype) == ((1, 16, 24, 3), mx.float32)
    assert 0 <= np.asarray(array).min() < np.asarray(array).max() <= 1
    assert np.array_equal(vae.decode(latents, output_type="np"), array)
    (picture,) = vae.decode(latents, output_type="pil")
    assert isinstance(picture, Image.Image)
    assert np.array_equal(np.asarray(picture), np.round(np.asarray(array[0]) * 255).astype(np.uint8))
    raw = vae.decode(latents, output_type="np", raw=True)
    assert raw.min() < 0
    assert np.allclose(np.clip(raw / 2 + 0.5, 0, 1), array, atol=1e-6)


@pytest.mark.parametrize(("output_type", "raw"), [("jpeg", False), (None, False), ("pil", True)])
def test_output_types_are_refused_before_any_work(output_type: OutputType, raw: bool) -> None:
    vae, latents, steps = random_vae(FLUX), random_latents(FLUX, 2, 3), list[object]()
    with pytest.raises(InputError, match="output_type"):  # and not a BudgetError
        vae.decode(latents, output_type=output_type, raw=raw, budget="1B", progress=steps.append)
    job = vae.prepare(latents, raw=raw, progress=steps.append)
    with pytest.raises(InputError, match="output_type"):
        job.array(output_type)
    assert (steps, job.report) == ([], None)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((15, 16, 3)), "multiples of 8"),
        (np.zeros((16, 16, 4)), r"\(B, H, W, 3\)"),
        (np.zeros((0, 16, 3)), r"\(B, H, W, 3\)"),
        (np.full((16, 16, 3), 255.0), "from 255.0 to 255.0"),
        (np.full((16, 16, 3), np.nan), "from nan to nan"),
        (np.zeros((16, 16, 3), np.int32), "or uint8, not int32"),
        (np.zeros((16, 16, 4), np.uint8), r"\(B, H, W, 3\)"),
        (Image.new("RGBA", (16, 16)), r'must be RGB, this PIL image is RGBA\n.*image.convert\("RGB"\)'),
        (Image.new("YCbCr", (16, 16)), "this PIL image is YCbCr"),
        (Image.new("L", (16, 16)), "this PIL image is L"),
    ],
)
def test_images_that_cannot_be_encoded(images: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        random_vae(SD).encode(images)


TAESD = TinyConfig(encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)
"""Pictures in [0, 1] inside the network."""


@pytest.mark.parametrize(
    ("images", "reason"),
    [(np.full((16, 16, 3), np.inf), "infinite"), (np.zeros((16, 16, 3), np.uint8), "uint8")],
)
def test_raw_images_that_cannot_be_encoded(images: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        random_vae(SD).encode(images, raw=True)


@pytest.mark.parametrize("config", [SD, TAESD], ids=lambda config: config.class_name)
def test_raw_images_are_those_the_encoder_reads(config: VAEConfig) -> None:
    vae, images = random_vae(config), np.random.default_rng(0).integers(0, 5, (1, 16, 24, 3)).astype(np.float32) / 4
    found, want = vae.encode(images * 2 - 1, raw=True), vae.encode(images)
    assert mx.array_equal(found.mean, want.mean).item(), "no value was rounded"
    beyond, inside = (vae.encode(images * factor - 1, raw=True).mean for factor in (2.5, 2))
    assert not np.allclose(beyond, inside, rtol=1e-3), "values beyond [-1, 1] are not clipped"


def test_a_pil_image_is_its_array() -> None:
    vae, pixels = random_vae(SD), np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    found, want = vae.encode(Image.fromarray(pixels)), vae.encode(mx.array(pixels))
    assert found.mean.shape == (1, 4, 2, 3)
    assert mx.array_equal(found.mean, want.mean).item()


def test_a_pil_image_is_refused_by_its_sides_and_if_it_is_broken(tmp_path: Path) -> None:
    vae, picture = random_vae(SD), Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8))
    picture.save(tmp_path / "whole.png", compress_level=0)
    cut = (tmp_path / "whole.png").read_bytes()[:1500]
    (tmp_path / "cut.png").write_bytes(cut)
    with (
        Image.open(tmp_path / "cut.png") as broken,
        pytest.raises(ImageError, match="the PIL image cannot be read: image file is truncated"),
    ):
        vae.encode(broken)
    Image.fromarray(np.zeros((41, 24, 3), np.uint8)).save(tmp_path / "odd.png", compress_level=0)
    (tmp_path / "odd.png").write_bytes((tmp_path / "odd.png").read_bytes()[:1500])
    with Image.open(tmp_path / "odd.png") as odd, pytest.raises(ImageError, match="41"):
        vae.encode(odd)


def test_encode_without_an_encoder_says_how_to_get_one() -> None:
    decoder = {name: mx.zeros(shape) for name, shape in shapes_of(SD, ["decode"]).items()}
    with pytest.raises(InputError, match="decoder_only=False"):
        VAE(SD, decoder, mx.float32).encode(np.zeros((16, 16, 3)))
