"""Injected silent failures of the device are mended if the second try is right, and refused if it is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import count, cycle, product
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.models import random_images, random_latents, random_vae, with_weights
from tests.support.plans import bits, plan_for, with_rows
from tests.support.toys import PixelNorms
from zvae_tiled import VAE
from zvae_tiled.chain import DOUBLE, Step
from zvae_tiled.cli.spoken import spoken
from zvae_tiled.devices.mlx_cpu import kernels as mlx_rows
from zvae_tiled.devices.mlx_cpu.memory import ROW_CHUNK
from zvae_tiled.devices.workspace import MAX_ELEMENTS
from zvae_tiled.engine.guard import Guard
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.families import Task
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.families.checks import MAX_CHANNELS
from zvae_tiled.families.tiny import TinyConfig

CONFIG = AutoencoderKLConfig(block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, latent_channels=3)
CONVOLUTIONS = [step.name for step in CONFIG.chain("decode").steps if step.kind == "conv"]
LATENTS = random_latents(CONFIG, 5, 6)


def one_bad(y: mx.array) -> mx.array:
    """One NaN in the middle of the values, which a minimum that ignores NaN would miss."""
    place = mx.arange(y.size).reshape(y.shape) == y.size // 2
    return mx.where(place, math.nan, y)


FAULTS: dict[str, Callable[[mx.array], mx.array]] = {
    "zeros": mx.zeros_like,
    "flat": lambda y: mx.full(y.shape, -7.0),
    "nan": lambda y: mx.full(y.shape, math.nan),
    "one nan": one_bad,
    "inf": lambda y: y + math.inf,
    "-inf": lambda y: y - math.inf,
}
CASES = [
    *zip(CONVOLUTIONS, cycle(FAULTS), strict=False),
    *(("decoder.up_blocks.0.upsamplers.0.conv", fault) for fault in FAULTS),
]
"""Every Step with some fault, and every fault in some Step."""

pytestmark = pytest.mark.usefixtures("mlx_kernels")  # faults are injected into those


class Faulty:
    """A device that fails in one Step: in its first `times` bands, or always."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, fault: Callable[[mx.array], mx.array], times: float):
        self.bands = 0
        healthy, conv = mlx_rows._convolved, mlx_rows.RowKernels.conv

        def counted(kernels: mlx_rows.RowKernels, step: Step, *rest: object) -> mx.array:
            self.bands += step.name == name
            return conv(kernels, step, *rest)  # type: ignore[arg-type]

        def convolved(step: Step, *rest: object) -> mx.array:
            y = healthy(step, *rest)  # type: ignore[arg-type]
            return fault(y) if step.name == name and self.bands <= times else y

        patch.setattr(mlx_rows.RowKernels, "conv", counted)
        patch.setattr(mlx_rows, "_convolved", convolved)


def decoded(vae: VAE, latents: np.ndarray = LATENTS) -> mx.array:
    """Decode by bands of several rows."""
    plan = with_rows(plan_for(vae, latents.shape, Random(3)), 3)
    pixels: mx.array = vae.decode(latents, plan=plan, raw=True)
    return pixels


def encoded(vae: VAE, images: np.ndarray) -> bytes:
    """Encode by bands of several rows."""
    plan = with_rows(plan_for(vae, images.shape, Random(3), task="encode"), 8)
    found = vae.encode(images, plan=plan)
    return bits(found.mean) + bits(found.logvar)


@cache
def healthy(task: Task, name: str) -> tuple[VAE, np.ndarray, bytes, int]:
    """A VAE, what it is given, what it gives by healthy kernels, and how many bands the Step of this name computes."""
    vae = random_vae(CONFIG)
    given = LATENTS if task == "decode" else random_images(CONFIG, 12, 6)
    with pytest.MonkeyPatch.context() as patch:
        device = Faulty(patch, name, mx.zeros_like, times=0)
        found = bits(decoded(vae)) if task == "decode" else encoded(vae, given)
    return vae, given, found, device.bands


def changed(vae: VAE, change: Callable[[mx.array], mx.array], *names: str) -> VAE:
    """The same VAE with some weights changed."""
    return with_weights(vae, {name: change(vae.weights[name]) for name in names})


@pytest.mark.parametrize(("name", "fault"), CASES)
@pytest.mark.sample(21)
def test_a_fault_that_passes_leaves_no_trace(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, _, want, usual = healthy("decode", name)
    device = Faulty(monkeypatch, name, FAULTS[fault], times=1)
    assert bits(decoded(vae)) == want
    assert device.bands > usual > 1


@pytest.mark.parametrize(("name", "fault"), CASES)
@pytest.mark.sample(9)
def test_a_fault_that_stays_is_an_error(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = healthy("decode", name)[0]
    Faulty(monkeypatch, name, FAULTS[fault], times=math.inf)
    with pytest.raises(SilentFailureError) as caught:
        decoded(vae)
    assert name in str(caught.value)
    assert "again in smaller bands" in str(caught.value)
    assert caught.value.advice


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sample(10)
def test_a_fault_where_a_map_is_halved_is_mended_or_refused(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "encoder.down_blocks.0.downsamplers.0.conv"
    vae, images, want, usual = healthy("encode", name)
    device = Faulty(monkeypatch, name, FAULTS[fault], times=1)
    assert encoded(vae, images) == want
    assert device.bands > usual > 1
    Faulty(monkeypatch, name, FAULTS[fault], times=math.inf)
    with pytest.raises(SilentFailureError, match=name):
        encoded(vae, images)


@pytest.mark.parametrize(("value", "dtype"), list(product([0.5, 0.0, 1.0], ["bfloat16", "float32", "float16"])))
@pytest.mark.sample(9)
def test_pictures_of_one_colour_are_no_fault(value: float, dtype: str) -> None:
    vae = random_vae(CONFIG, dtype)
    images = np.full((2, 24, 12, 3), value, np.float32)
    images[1, 10:15] = random_images(CONFIG, 12, 6)[0, 10:15]  # and letterboxed
    encoded(vae, images)


def test_one_nan_in_a_later_row_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    name, rows = "decoder.up_blocks.1.resnets.0.conv1", count(1)
    vae, _, want, usual = healthy("decode", name)
    device = Faulty(monkeypatch, name, lambda y: one_bad(y) if next(rows) == 2 else y, times=math.inf)
    assert bits(decoded(vae)) == want
    assert device.bands > usual


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sample(4)
def test_one_bad_row_of_a_band_is_seen_and_mended(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, rows = "decoder.up_blocks.1.resnets.0.conv1", count(1)
    vae, _, want, _ = healthy("decode", name)
    Faulty(monkeypatch, name, lambda y: FAULTS[fault](y) if next(rows) == 2 else y, times=math.inf)
    assert bits(decoded(vae)) == want
    assert next(rows) > 3


@pytest.mark.parametrize("method", ["keys", "attend"])
@pytest.mark.parametrize("times", [1, math.inf])
@pytest.mark.sample(3)
def test_an_attention_that_is_not_finite_is_seen(method: str, times: float, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count(1)
    vae, _, want, _ = healthy("decode", "decoder.conv_in")
    compute = getattr(mlx_rows.RowKernels, method)

    def computed(*arguments: Any) -> mx.array:
        found: mx.array = compute(*arguments)
        return one_bad(found).astype(found.dtype) if next(calls) <= times else found

    monkeypatch.setattr(mlx_rows.RowKernels, method, computed)
    if times == 1:
        assert bits(decoded(vae)) == want
        return
    with pytest.raises(SilentFailureError, match=r"mid_block\.attentions") as caught:
        decoded(vae)
    assert "float16" not in caught.value.advice


def test_smaller_bands_are_single_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    heights = []
    conv = mlx_rows.RowKernels.conv

    def recorded(kernels: mlx_rows.RowKernels, step: Step, weights: Any, pieces: Any, skip: Any) -> mx.array:
        if step.name == "decoder.conv_in":
            heights.append(len(pieces) - 2)
        return conv(kernels, step, weights, pieces, skip)

    Faulty(monkeypatch, "decoder.conv_in", mx.zeros_like, times=1)
    monkeypatch.setattr(mlx_rows.RowKernels, "conv", recorded)
    with pytest.raises(SilentFailureError):  # bands are not counted here, so the fault never passes
        decoded(random_vae(CONFIG))
    assert heights[0] > 1
    assert set(heights[1:]) == {1}


@pytest.mark.parametrize(("name", "value"), list(zip(CONVOLUTIONS, cycle([0.0, 0.3]), strict=False)))
@pytest.mark.sample(9)
def test_flat_weights_are_no_fault(name: str, value: float) -> None:
    vae = changed(random_vae(CONFIG), lambda weight: mx.full(weight.shape, value), f"{name}.weight")
    assert np.isfinite(decoded(vae)).all()


@pytest.mark.slow
def test_flat_latents_are_no_fault() -> None:
    latents = LATENTS.copy()
    latents[:, :, :3] = 0  # bands of zeros, and one that is half zeros
    for each in (latents, np.zeros_like(LATENTS), np.full_like(LATENTS, 2)):
        assert np.isfinite(decoded(random_vae(CONFIG), each)).all()


def test_a_norm_that_gives_one_value_is_no_fault() -> None:
    names = [
        f"{step.norm.name}.{part}" for step in CONFIG.chain("decode").steps if step.norm for part in ("weight", "bias")
    ]
    assert np.isfinite(decoded(changed(random_vae(CONFIG), mx.zeros_like, *names))).all()


def test_rows_that_relu_makes_zeros_are_no_fault() -> None:
    config = TinyConfig(
        encoder_block_out_channels=(4, 4),
        decoder_block_out_channels=(4, 4),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    vae = changed(random_vae(config), lambda bias: bias - 1e3, "decoder.layers.2.conv.0.bias")
    assert np.isfinite(decoded(vae, random_latents(config, 5, 6))).all()


def test_small_values_become_no_zeros_by_an_rms_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    step = next(step for step in PixelNorms().chain("decode").steps if step.rms is not None)
    kernels = mlx_rows.RowKernels(mx.float32)
    monkeypatch.setattr(mlx_rows.RowKernels, "blank", lambda self, pieces: True)
    affine = kernels.affine(np.ones(step.inputs), np.zeros(step.inputs))
    guard, zeros = Guard(kernels, step, dict[str, mx.array]), mx.zeros((1, 3, 4, step.inputs))
    assert guard.activate(zeros, affine)
    with pytest.raises(SilentFailureError):
        guard.activate(zeros + 1e-9, affine)


def test_a_single_value_is_no_fault() -> None:
    config = AutoencoderKLConfig(out_channels=1, latent_channels=1, block_out_channels=(1,), norm_num_groups=1)
    for height in (1, 3):
        assert np.isfinite(decoded(random_vae(config), random_latents(config, height, 1))).all()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sample(10)
def test_a_fault_is_mended_beside_rows_that_are_flat_by_right(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = LATENTS.copy()
    latents[:, :, :2] = 0
    config = replace(CONFIG, use_post_quant_conv=False)
    vae = random_vae(config)
    want = bits(decoded(vae, latents))
    Faulty(monkeypatch, "decoder.conv_in", FAULTS[fault], times=1)
    assert bits(decoded(vae, latents)) == want


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.sample(9)
def test_overflow_of_float16_says_what_to_do(name: str) -> None:
    grow = changed(random_vae(CONFIG, "float16"), lambda weight: mx.where(weight > 0, 6e4, -6e4), f"{name}.weight")
    with pytest.raises(SilentFailureError) as caught:
        decoded(grow)
    assert name in str(caught.value)
    assert 'dtype="bfloat16"' in caught.value.advice
    assert "--dtype bfloat16" in spoken(caught.value.advice)


def test_no_convolution_is_larger_than_what_mlx_computes_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 2^31 elements of im2col, MLX's values are wrong. One row, or a bounded part of it, stays below."""
    shapes: list[Any] = []

    def recorded(convolve: Any, x: mx.array, weight: mx.array, **options: Any) -> Any:
        shapes.append((x.shape, weight.shape))
        return convolve(x, weight, **options)

    for operation in ("conv_general", "conv2d"):
        monkeypatch.setattr(mx, operation, partial(recorded, getattr(mx, operation)))
    config = AutoencoderKLConfig(block_out_channels=(2, 4), norm_num_groups=2, mid_block_add_attention=False)
    decoded(random_vae(config), random_latents(config, 2, 3 * ROW_CHUNK // 2))
    assert len(shapes) > 100
    rows = {height - kernel + 1 for (_, height, _, _), (_, kernel, _, _) in shapes}
    columns = {width - kernel + 1 for (_, _, width, _), (_, _, kernel, _) in shapes}
    assert rows == {1}
    assert max(columns) == ROW_CHUNK
    assert ROW_CHUNK * 9 * MAX_CHANNELS <= MAX_ELEMENTS


@pytest.mark.parametrize("blank", [0, 1])
def test_a_doubled_row_may_be_zeros_beside_one_that_is_not(blank: int) -> None:
    """ReLU made two of the three rows of its window zeros."""
    rng, kernels = np.random.default_rng(0), mlx_rows.RowKernels(mx.float32)
    step = Step("up", "conv", 6, 5, activation="relu", resample=DOUBLE, bias=False)
    weights = {"weight": mx.array(rng.standard_normal((5, 3, 3, 6), np.float32)), "bias": mx.zeros(5)}
    x = np.abs(rng.standard_normal((1, 3, 7, 6), np.float32))
    x[:, [blank, 1 if blank == 0 else 2]] *= -1
    ready = kernels.prepare(step, weights)
    guard = Guard(kernels, step, lambda: ready)
    pieces = guard.activate(mx.array(x), None)
    out = np.asarray(guard.conv(pieces, None))[0]
    assert [bool(row.any()) for row in out] == [blank == 1, blank == 0]
    whole = guard.activate(mx.array(np.abs(x)), None)
    assert not guard._half_idle(np.array([1.0, 0.0]), whole, ready, 0), "no row of its window is zeros"
