"""Tiles against the full decode: equal with an overlap of the reach, and with a bounded error below."""

from __future__ import annotations

from itertools import product
from random import Random

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import Phase, given
from hypothesis import strategies as st

from benchmarks.quality import structured_latents
from tests.quality.cases import RAMPS, decoded, random_case, reach_of, relative, small_config
from tests.support.models import narrow, random_latents, random_vae
from tests.support.samples import examples
from zvae_tiled import VAE, Progress
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.native_cpu import choice
from zvae_tiled.engine import proxy
from zvae_tiled.engine.bands import Band, RamBands, Store
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.planner import layout
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Quality, Tiles
from zvae_tiled.report.metrics import colour_shift, psnr

ROUNDING = 2e-5
"""Largest error, in standard deviations of the picture: tiles are convolved at other places of a row, and blended."""

TWO_LEVELS = AutoencoderKLConfig(latent_channels=16, block_out_channels=(8, 16), norm_num_groups=4)
"""A reach of 7 latents, 14 pixels."""


@pytest.fixture(scope="module")
def vae() -> VAE:
    return random_vae(TWO_LEVELS)


@pytest.fixture(scope="module")
def latents() -> np.ndarray:
    return structured_latents(30, 36, 16)


@pytest.fixture(scope="module")
def full(vae: VAE, latents: np.ndarray) -> np.ndarray:
    return decoded(vae, latents)[0]


@examples(12, phases=[Phase.generate])  # a smaller example would show no more
@given(st.randoms(use_true_random=False))
def test_tiles_with_overlap_enough_equal_the_full_decode(rng: Random) -> None:
    config = small_config(rng)
    reach, scale = reach_of(config), config.scale
    overlap = [reach + rng.randint(0, 2) for _ in range(2)]
    tile = [both + rng.randint(1, 6) for both in overlap]
    size = [rng.randint(1, t + 2 * (t - both)) for t, both in zip(tile, overlap, strict=True)]
    vae, latents = random_case(rng, config, *size)
    ramp = rng.choice(RAMPS)
    picture, report = decoded(
        vae,
        latents,
        quality=Tiles((tile[0] * scale, tile[1] * scale), (overlap[0] * scale, overlap[1] * scale), ramp),
    )
    assert report.exact
    assert report.plan.expected_error == "rounding"
    assert relative(picture, decoded(vae, latents)[0]) <= ROUNDING, (config, size, tile, overlap, ramp)


@pytest.mark.slow
def test_the_four_level_decoder_needs_thirteen_latents() -> None:
    config = narrow("flux1", (4, 4, 8, 8), 4)
    assert reach_of(config) == 13
    vae, latents = random_vae(config), random_latents(config, 20, 30)
    picture, report = decoded(vae, latents, quality=Tiles(160, 104))
    assert report.exact
    assert len(report.plan.grid.columns) == 3
    assert relative(picture, decoded(vae, latents)[0]) <= ROUNDING


@pytest.mark.parametrize("ramp", RAMPS)
@pytest.mark.sample(3)
def test_errors_shrink_as_the_overlap_grows(vae: VAE, latents: np.ndarray, full: np.ndarray, ramp: str) -> None:
    errors = []
    for overlap in (0, 2, 6, 14):
        picture, report = decoded(vae, latents, quality=Tiles(32, overlap, ramp))
        assert report.exact == (overlap == 14)
        assert report.quality == "tiles"
        errors.append(float(np.sqrt(np.square(picture - full).mean()) / full.std()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.5
    assert errors[2] < 0.01
    assert errors[3] < ROUNDING


def test_tiles_by_themselves_have_a_bounded_error_and_other_colours(
    vae: VAE, latents: np.ndarray, full: np.ndarray
) -> None:
    own, report = decoded(vae, latents, quality=Tiles(32, 8, moments="tile"))
    assert not report.exact
    assert report.statistics == "moments and middle block of each tile by itself"
    shared, whole = decoded(vae, latents, quality=Tiles(32, 8))
    assert 1e-3 < relative(own, full) < 6
    # Moments of the whole picture leave seams alone, and keep the colours.
    assert colour_shift(shared, full, whole.plan).mean < 0.1 * colour_shift(own, full, report.plan).mean


def test_a_plan_of_tiles_counts_that_all_latents_are_made_ready_at_once() -> None:
    many = AutoencoderKLConfig(latent_channels=128, block_out_channels=(4,), norm_num_groups=1)
    vae, seen = random_vae(many, "bfloat16"), list[Progress]()
    plan = vae.plan(2000, 1, "1GB", quality=Tiles(16, 4, moments="tile"), task="stream")
    next(vae.stream(random_latents(many, 2000, 1), plan=plan, progress=seen.append))
    assert seen[-1].peak + PROCESS <= plan.predicted_peak


def test_one_tile_by_itself_is_a_full_decode(vae: VAE, latents: np.ndarray, full: np.ndarray) -> None:
    picture, report = decoded(vae, latents, quality=Tiles(80, moments="tile"))
    assert report.exact
    assert relative(picture, full) <= ROUNDING


@pytest.mark.parametrize("quality", ["stream", Tiles(40, moments="proxy")], ids=str)
def test_a_proxy_is_near_and_says_so(
    monkeypatch: pytest.MonkeyPatch, vae: VAE, latents: np.ndarray, full: np.ndarray, quality: str | Quality
) -> None:
    monkeypatch.setattr(layout, "PROXY", 16)
    picture, report = decoded(vae, latents, quality=quality)
    assert not report.exact
    assert report.plan.factors == (2, 3)
    assert "2x3" in report.statistics
    assert psnr(picture, full, full.max() - full.min()) > 30
    assert relative(picture, full) < 0.7


def test_a_picture_as_small_as_a_proxy_streams_as_a_full_decode(
    vae: VAE, latents: np.ndarray, full: np.ndarray
) -> None:
    picture, report = decoded(vae, latents, quality="stream")
    assert report.exact  # the proxy is the map itself
    assert relative(picture, full) <= ROUNDING


@pytest.mark.parametrize(
    ("shape", "quality"),
    list(product([(1, 150), (150, 1), (2, 3)], ["stream", Tiles(64), Tiles(moments="tile")])),
    ids=str,
)
@pytest.mark.sample(4)
def test_strips_decode_in_every_quality(vae: VAE, shape: tuple[int, int], quality: str | Quality) -> None:
    strip = random_latents(TWO_LEVELS, *shape)
    want = decoded(vae, strip)[0]
    picture, report = decoded(vae, strip, quality=quality)
    assert picture.shape == want.shape
    assert np.isfinite(picture).all()
    assert relative(picture, want) <= (ROUNDING if report.exact else 2)


def test_exact_is_the_default_and_only_a_name_gives_anything_else(vae: VAE, latents: np.ndarray) -> None:
    report = decoded(vae, latents)[1]
    assert (report.quality, report.exact) == ("exact", True)
    report = decoded(vae, latents, budget="14MB")[1]
    assert (report.quality, report.exact) == ("exact", True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_narrow_types_batches_and_streams(latents: np.ndarray, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "BAND_ROWS", 16)  # MLX's own kernels have as many
    vae = random_vae(TWO_LEVELS, dtype)
    both = np.concatenate([latents, latents[:, :, ::-1]])
    quality = Tiles(40, ramp="linear")
    pictures = vae.decode(both, output_type="np", quality=quality)
    alone = vae.decode(both[1:], output_type="np", quality=quality)
    np.testing.assert_array_equal(pictures[1:], alone)
    rows = [rows for _, rows in zip(range(10_000), vae.stream(both[1:], quality=quality), strict=False)]
    np.testing.assert_array_equal(np.asarray(mx.concatenate(rows, axis=1)), alone)
    assert max(row.shape[1] for row in rows) <= 2 * 16  # rows leave by bands, not by tiles
    want = vae.decode(both, output_type="np")
    assert np.abs(pictures - want).max() < (0.1 if dtype == "bfloat16" else 0.02)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@examples(30)
def test_a_proxy_has_the_mean_and_the_spread_of_its_map(
    height: int, width: int, down: int, across: int, seed: int
) -> None:
    kernels = RowKernels(mx.float32)
    down, across = min(down, height), min(across, width)
    values = np.random.default_rng(seed).normal(3, 2, (height, width, 4)).astype(np.float32)
    bands = RamBands(kernels)
    store: Store[mx.array] = Store(kernels, bands, [])
    store.append(Band(mx.array(values[None])))
    small = proxy.shrunk(kernels, store, (down, across), (height, width), 4)
    found = np.concatenate([kernels.to_host(band) for band in small.values().read(7, release=False)])
    rows, columns = height // down, width // across
    assert found.shape == (2 * rows, columns, 4)
    for part in (found[:rows], found[rows:]):
        np.testing.assert_allclose(part.mean((0, 1)), values.mean((0, 1)), atol=1e-4)
        if rows * columns > 4:
            np.testing.assert_allclose(part.std((0, 1)), values.std((0, 1)), rtol=1e-3)


@given(st.integers(1, 70), st.integers(1, 9))
def test_what_is_cut_out_lies_in_the_map_in_order(count: int, factor: int) -> None:
    found = proxy.picked(count, factor)
    assert len(found) == count
    assert (np.diff(found) > 0).all()
    assert found[0] >= 0
    assert found[-1] < count * factor
