"""Pixel space: decode is (x + 1) / 2, clipped, by every way through the engine, and never holds the pixels twice."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.plans import random_plan
from tests.support.samples import examples
from zvae_tiled import VAE, Tiles, config_of, plan, read_plan
from zvae_tiled.errors import BudgetError, LatentsError
from zvae_tiled.families.pixel_space import PixelSpaceConfig
from zvae_tiled.inputs.latents import read_latents
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality
from zvae_tiled.report.report import Report
from zvae_tiled.weights.vae import DTYPES

PIXELS = config_of("pixel-space")
QUALITIES: list[str | Quality] = ["exact", "stream", "tiles", Tiles(64, 10)]
ENDINGS = (".png", ".tif", ".npy")
INPUTS = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    """Pixels as a model returns them: some lie outside of [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1.1, 1.1, shape).astype(np.float32)


def picture(given: mx.array) -> np.ndarray:
    values = np.asarray(given.astype(mx.float32)).transpose(0, 2, 3, 1)
    shifted: np.ndarray = np.clip(values * np.float32(0.5) + np.float32(0.5), 0, 1)
    return shifted


@given(st.integers(0, 1 << 32))
@examples(30)
def test_any_plan_shifts_the_range_and_clips_whatever_the_type(seed: int) -> None:
    rng = Random(seed)
    channels, batch, dtype = rng.choice([1, 3, 4]), rng.randint(1, 2), rng.choice(sorted(DTYPES))
    height, width = rng.randint(1, 40), rng.randint(1, 40)
    vae = VAE(PixelSpaceConfig(channels), {}, DTYPES[dtype])
    given = mx.array(pixels(batch, channels, height, width, seed=seed)).astype(INPUTS[rng.choice(sorted(INPUTS))])
    want = picture(given)
    exact = random_plan(vae.config, height, width, dtype, rng, batch)
    assert np.array_equal(vae.decode(given, "np", plan=read_plan(exact.to_json())), want)
    for quality in ("stream", "tiles", Tiles(rng.randint(1, 16), 0)):
        assert np.array_equal(vae.decode(given, "np", quality=quality), want)
    found, report = vae.decode(given, "np", quality=Tiles(8, 4), return_report=True)
    assert report.plan.exact
    assert np.abs(found - want).max() < 1e-6
    streamed = np.concatenate([np.asarray(rows)[0] for rows in vae.stream(given)])
    assert np.array_equal(streamed.reshape(want.shape), want)
    raw = np.asarray(vae.decode(given, raw=True).astype(mx.float32)).transpose(0, 3, 1, 2)
    assert np.array_equal(raw, np.asarray(given.astype(vae.dtype).astype(mx.float32)))


def test_encode_is_the_inverse() -> None:
    vae = VAE(PIXELS, {}, mx.float32)
    images = np.random.default_rng(0).integers(0, 256, (2, 19, 33, 3), np.uint8)
    encoded = vae.encode(images).mode()
    assert encoded.shape == (2, 3, 19, 33)
    assert np.abs(np.asarray(encoded).transpose(0, 2, 3, 1) - (images / 127.5 - 1)).max() < 1e-6
    assert np.array_equal(np.round(vae.decode(encoded, "np") * 255), images)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("task", ["encode", "decode", "file"])
@pytest.mark.sample(5)
def test_a_run_stays_below_its_prediction_and_that_below_the_budget(task: str, seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    vae, path = VAE(PIXELS, {}, DTYPES[rng.choice(sorted(DTYPES))]), tmp_path / f"picture{rng.choice(ENDINGS)}"
    given = pixels(rng.randint(1, 2), 3, rng.randint(40, 100), rng.randint(400, 2000), seed=seed)
    images, quality = picture(mx.array(given)), QUALITIES[seed % len(QUALITIES)]

    def report_of(budget: int) -> Report:
        limit: dict[str, Any] = {"budget": f"{budget}B"}
        if task == "file":
            return vae.decode_to_file(given, path, quality=quality, **limit)
        if task == "encode":
            return vae.encode(images, return_report=True, **limit)[1]  # type: ignore[no-any-return]
        return vae.decode(given, quality=quality, return_report=True, **limit)[1]  # type: ignore[no-any-return]

    with pytest.raises(BudgetError) as error:
        report_of(1)
    for budget in (error.value.needed, 1 << 30):
        report = report_of(budget)
        assert report.measured_peak <= report.predicted_peak - PROCESS < report.budget


def test_the_variance_of_a_band_takes_no_memory_of_its_own() -> None:
    images = np.zeros((1, 40, 6000, 3), np.float32)  # wide: the bands are all that a plan's spare bytes must cover
    _, report = VAE(PIXELS, {}, mx.float32).encode(images, return_report=True)
    assert report.measured_peak <= report.predicted_peak - PROCESS


@pytest.mark.parametrize("quality", ["exact", "stream", "tiles"])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_rows_need_the_pixels_once_and_a_few_bands(quality: str, dtype: str) -> None:
    stream = plan(PIXELS, 8192, 4096, "1GB", dtype=dtype, device="cpu", task="stream", quality=quality)
    once = 8192 * 4096 * 3 * 4
    assert once < stream.predicted_peak - PROCESS < 1.05 * once
    whole = plan(PIXELS, 8192, 4096, "2GB", dtype=dtype, device="cpu", quality=quality)
    assert 2 * once < whole.predicted_peak - PROCESS < 2.05 * once
    assert stream.predicted_seconds > 0


@pytest.mark.parametrize(("ending", "bits"), [("png", 8), ("png", 16), ("tif", 8)])
def test_a_file_holds_the_levels(ending: str, bits: int, tmp_path: Path) -> None:
    given, path = pixels(1, 3, 50, 70), tmp_path / f"picture.{ending}"
    VAE.load("pixel-space").decode_to_file(given, path, bits=bits)
    if bits == 8:
        with Image.open(path) as image:
            assert np.array_equal(np.asarray(image), np.round(picture(mx.array(given))[0] * 255))
    else:
        assert path.stat().st_size > 50 * 70 * 3 * 1.9  # random values of 16 bits cannot be packed, bfloat16's can


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    given = pixels(1, 3, 4, 5)
    given[0, 1, 2, 3] = bad
    with pytest.raises(LatentsError, match=r"hold 1 values that are NaN or infinite; .* at \(0, 1, 2, 3\)"):
        VAE.load("pixel-space").decode(given)


def test_looking_for_them_takes_no_memory() -> None:
    given = mx.array(pixels(1, 3, 300, 400))
    mx.eval(given)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    read_latents(given, PIXELS)
    assert mx.get_peak_memory() - before < 10_000


def test_a_sum_beyond_the_type_is_no_fault() -> None:
    given = np.full((1, 3, 200, 200), 3e38, np.float32)
    assert (VAE.load("pixel-space").decode(given, "np") == 1).all()
