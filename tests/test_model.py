"""The reference model: one type from end to end, batches that do not mix, the pictures asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from PIL import Image
from zvae_tiled.model import DecoderOnly, layers
from zvae_tiled.model.autoencoder import unscale_latents
from zvae_tiled.model.layers import Attention, GroupNorm

from tests.models import narrow, random_latents, random_vae, whole_decode, whole_encode
from zvae_tiled import VAE
from zvae_tiled.arrays import OutputType
from zvae_tiled.errors import ImageError, InputError

FLUX, SD = narrow("flux1"), narrow("sd1")


@contextmanager
def every_output(seen: list[mx.array]) -> Iterator[None]:
    """Collect what every module returns, and every SiLU."""
    classes = {
        GroupNorm,
        Attention,
        nn.Conv2d,
        nn.Linear,
        layers.ResnetBlock,
        layers.Upsample,
        layers.Downsample,
    }
    originals = {cls: cls.__call__ for cls in classes}

    def recording(original: Any) -> Any:
        def call(self: nn.Module, *arguments: mx.array) -> mx.array:
            seen.extend(arguments)
            seen.append(original(self, *arguments))
            return seen[-1]

        return call

    try:
        for cls, original in originals.items():
            setattr(cls, "__call__", recording(original))  # noqa: B010
        yield
    finally:
        for cls, original in originals.items():
            setattr(cls, "__call__", original)  # noqa: B010


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("config", [FLUX, SD])
def test_no_intermediate_changes_the_type(config: Any, dtype: str) -> None:
    vae = random_vae(config, dtype)
    seen: list[mx.array] = []
    with every_output(seen):
        raw = whole_decode(vae, mx.array(random_latents(config, 3, 5).transpose(0, 2, 3, 1)).astype(vae.dtype))
        whole_encode(vae, mx.full((1, 16, 24, 3), 0.25).astype(vae.dtype))
    posterior = vae.encode(np.full((16, 24, 3), 0.25, np.float32))
    assert len(seen) > 100
    assert {array.dtype for array in seen} == {vae.dtype}
    assert vae.decode(random_latents(config, 3, 5), raw=True).dtype == vae.dtype
    assert raw.dtype == posterior.mean.dtype == posterior.sample(mx.random.key(0)).dtype == vae.dtype


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_scale_and_shift_are_undone_in_the_latents_own_type(dtype: mx.Dtype) -> None:
    own = mx.array(random_latents(FLUX, 3, 5)).astype(dtype)
    # Each of the two operations rounds once to the latents' type, as torch's do.
    divided = mx.array(np.asarray(own.astype(mx.float32)) / np.float32(0.3611)).astype(dtype)
    want = mx.array(np.asarray(divided.astype(mx.float32)) + np.float32(0.1159)).astype(dtype)
    assert mx.array_equal(unscale_latents(own, FLUX), want).item()
    vae = random_vae(FLUX)
    ready = mx.moveaxis(want, 1, -1).astype(mx.float32)
    assert np.allclose(vae.decode(own, raw=True), whole_decode(vae, ready), atol=1e-4)


def test_group_norm_in_bfloat16_keeps_a_small_spread_on_a_large_mean() -> None:
    values = np.random.default_rng(0).normal(100, 1, (1, 9, 9, 8)).astype(np.float32)
    x = mx.array(values).astype(mx.bfloat16)
    exact = np.asarray(x.astype(mx.float32), np.float64).reshape(81, 2, 4)
    want = (exact - exact.mean((0, 2), keepdims=True)) / exact.std((0, 2), keepdims=True)
    got = np.asarray(GroupNorm(2, 8)(x).astype(mx.float32)).reshape(81, 2, 4)
    assert np.abs(got - want).max() < 0.02  # half a bfloat16 step at the largest value, 4


def test_attention_in_chunks_equals_attention_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = Attention(8, 2)
    x = mx.random.normal((2, 5, 7, 8), key=mx.random.key(0))
    whole = attention(x)
    monkeypatch.setattr(layers, "QUERIES_AT_ONCE", 4)
    assert np.allclose(np.asarray(attention(x)), np.asarray(whole), atol=1e-6)


def test_a_batch_is_its_pictures_one_by_one() -> None:
    vae = random_vae(SD)
    latents = random_latents(SD, 3, 5, batch=3)
    together = vae.decode(latents, output_type="np")
    for i in range(3):
        assert np.allclose(vae.decode(latents[i], output_type="np")[0], together[i], atol=1e-6)


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
    with pytest.raises(InputError, match="output_type"):
        random_vae(FLUX).decode(object(), output_type=output_type, raw=raw)


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
        (Image.new("RGBA", (16, 16)), "convert"),
    ],
)
def test_images_that_cannot_be_encoded(images: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        random_vae(SD).encode(images)


def test_a_pil_image_is_its_array() -> None:
    vae, pixels = random_vae(SD), np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    found, want = vae.encode(Image.fromarray(pixels)), vae.encode(mx.array(pixels))
    assert found.mean.shape == (1, 2, 3, 4)
    assert mx.array_equal(found.mean, want.mean).item()


def test_encode_without_an_encoder_says_how_to_get_one() -> None:
    with pytest.raises(InputError, match="decoder_only=False"):
        VAE(SD, DecoderOnly(SD), mx.float32).encode(np.zeros((16, 16, 3)))
