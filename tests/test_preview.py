"""A preview: by a tiny decoder, or from a small map of the latents, within a budget, and named as what it is."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.models import FLUX2, narrow, random_latents, random_vae, save_random
from tests.support.plans import bits
from tests.support.samples import examples
from zvae_tiled import VAE, Latents, VAEConfig, config_of
from zvae_tiled.errors import BudgetError, ConfigError, OutputError
from zvae_tiled.families import LatentConvention, table, tiny
from zvae_tiled.families.tiny import TinyConfig
from zvae_tiled.inputs.latent_space import scale_latents, unpacked
from zvae_tiled.inputs.shrink import shrunk
from zvae_tiled.jobs import preview
from zvae_tiled.planner.ends import PROCESS

CONFIG = narrow("z-image")
TAEF1 = TinyConfig(latent_channels=16, encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4)
LATENTS = random_latents(CONFIG, 12, 20)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that decodes no latents in time."""
    monkeypatch.setattr(preview, "SECONDS", 0.0)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that decodes any latents in time."""
    monkeypatch.setattr(preview, "SECONDS", 1e9)


@pytest.fixture(autouse=True)
def _no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("fast")
def test_a_preview_that_is_a_full_decode_says_so() -> None:
    vae = random_vae(CONFIG)
    look = vae.preview(LATENTS)
    assert bits(look.array()) == bits(vae.decode(LATENTS))
    assert repr(look).startswith("<Preview of 1 picture of 160x96 pixels, the VAE itself, from all latents, ")
    assert repr(vae.prepare(LATENTS, quality="tiles")).startswith("<Decode of 1 picture of 160x96 pixels, tiles, ")
    assert look.full
    assert look.made_by == "the VAE itself, from all latents"
    assert look.report is not None
    assert look.report.exact


@pytest.mark.usefixtures("slow")
def test_a_small_map_is_decoded_within_the_budget_and_named_as_what_it_is(tmp_path: Path) -> None:
    vae, latents = random_vae(CONFIG), random_latents(CONFIG, 13, 29)
    with pytest.raises(BudgetError) as refused:
        vae.preview(latents, budget="1B")
    assert " as a preview needs at least" in refused.value.problem
    look = vae.preview(latents, budget=f"{refused.value.needed}B")
    report = look.write(tmp_path / "look.png")
    assert look.made_by == "the VAE itself, from latents shrunk 13 times"
    assert look.shape == (1, 8, 24, 3)
    assert (report.quality, report.exact, report.expected_error) == ("preview", False, "unknown")
    assert f"quality    preview, not exact: {look.made_by}" in str(report)
    assert report.measured_peak <= report.predicted_peak - PROCESS < report.budget
    with Image.open(tmp_path / "look.png") as image:
        assert (image.width, image.height) == (24, 8)
        assert image.info["zvae_quality"] == f"preview, not exact: {look.made_by}"


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("config", [CONFIG, FLUX2], ids=lambda config: config.class_name)
def test_a_tiny_decoder_reads_the_same_latents(config: VAEConfig) -> None:
    shape = replace(TAEF1, latent_channels=config.latent_channels, patch=config.latents.patch)
    vae, decoder, latents = random_vae(config), random_vae(shape, seed=1), random_latents(config, 3, 5)
    look = vae.preview(latents, tiny=decoder)
    assert bits(look.array()) == bits(decoder.decode(latents))
    assert not look.full
    assert look.report is not None
    assert not look.report.exact
    own = mx.array(latents.transpose(0, 2, 3, 1))
    scaled = np.asarray(scale_latents(own, config.latents, vae.weights)).transpose(0, 3, 1, 2)
    found = vae.preview(Latents(own, layout="NHWC", scaled=False), tiny=decoder).array()
    assert np.abs(np.asarray(found) - np.asarray(decoder.decode(scaled))).max() < 1e-5


@pytest.mark.parametrize("config", [CONFIG, FLUX2], ids=lambda config: config.class_name)
def test_latents_that_were_not_scaled_are_scaled_as_they_are_shrunk(
    config: VAEConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_factor", lambda *_: 4)
    shape = replace(TAEF1, latent_channels=config.latent_channels, patch=config.latents.patch)
    vae, decoder = random_vae(config), random_vae(shape, seed=1)
    own = mx.array(random_latents(config, 120, 200).transpose(0, 2, 3, 1))
    scaled = scale_latents(own, config.latents, vae.weights)
    peaks, pictures = [], []
    for latents in (Latents(scaled, layout="NHWC"), Latents(own, layout="NHWC", scaled=False)):
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        look = vae.preview(latents, tiny=decoder)
        peaks.append(mx.get_peak_memory() - before)
        pictures.append(bits(look.array()))
    assert peaks[1] - peaks[0] < own.nbytes / 4
    assert pictures[1] == pictures[0]


@pytest.mark.usefixtures("slow")
def test_both_decoders_count_against_the_budget() -> None:
    vae, decoder = random_vae(CONFIG), random_vae(TAEF1)
    alone = decoder.plan(8, 8, "1GB").predicted_peak
    look = vae.preview(LATENTS, tiny=decoder, budget="1GB")
    look.array()
    assert look.report is not None
    assert look.report.predicted_peak >= alone + vae.weight_bytes


@pytest.mark.usefixtures("fast")
def test_a_tiny_decoder_is_found_in_the_cache_or_at_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, folder = random_vae(CONFIG, "bfloat16"), tmp_path / "hub" / "models--madebyollin--taef1" / "snapshots" / "f00"
    monkeypatch.setitem(table.PRESETS, "toy", CONFIG)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": "AutoencoderTiny", **asdict(TAEF1)}))
    weights = save_random(TAEF1, folder / "diffusion_pytorch_model.safetensors", seed=3)
    assert vae.preview(LATENTS).full, "no tiny decoder of this preset is known"
    monkeypatch.setitem(tiny.TINY_OF, "toy", "taef1")
    want = bits(VAE.load(folder).decode(LATENTS))
    assert bits(vae.preview(LATENTS).array()) == want
    look = vae.preview(LATENTS, tiny=folder)
    assert bits(look.array()) == want
    before = weights.read_bytes()
    with pytest.raises(OutputError):
        look.write(weights)
    assert weights.read_bytes() == before


def test_a_decoder_of_other_latents_is_refused() -> None:
    vae = random_vae(CONFIG)
    with pytest.raises(ConfigError, match="tiny must be a TAESD, it is an AutoencoderKL"):
        vae.preview(LATENTS, tiny=vae)
    with pytest.raises(ConfigError, match=r"16 channels, one for 8x8 pixels, it reads 4, one for 8x8"):
        vae.preview(LATENTS, tiny=random_vae(replace(TAEF1, latent_channels=4)))


def test_every_preset_with_a_tiny_decoder_has_its_latents() -> None:
    for name, decoder in tiny.TINY_OF.items():
        theirs, own = config_of(name), config_of(decoder)
        assert (theirs.latents.channels, theirs.cell) == (own.latents.channels, own.cell)


sides = st.integers(1, 12)
conventions = st.sampled_from([LatentConvention(3), LatentConvention(12, 2), LatentConvention(12, 2, "yxc")])


@given(sides, sides, st.integers(1, 12), conventions, st.integers(0, 99))
@examples(60)
def test_a_shrunk_map_is_the_means_of_squares_with_the_spread_of_the_whole(
    height: int, width: int, factor: int, convention: LatentConvention, seed: int
) -> None:
    patch, order = convention.patch, convention.order
    latents = mx.array(np.random.default_rng(seed).standard_normal((2, height, width, convention.channels), np.float32))
    small = np.asarray(unpacked(shrunk(latents, convention, factor), patch, order))
    rows, columns = (-(-side // factor) * patch for side in (height, width))
    assert small.shape == (2, rows, columns, 3)
    for found, own in zip(small, np.asarray(unpacked(latents, patch, order)).astype(np.float64), strict=True):
        assert found.mean((0, 1)) == pytest.approx(own.mean((0, 1)), abs=1e-4)
        if rows * columns > 1:
            want = _means(_means(own, factor, patch).swapaxes(0, 1), factor, patch).swapaxes(0, 1)
            want = (want - want.mean((0, 1))) / want.std((0, 1)) * own.std((0, 1)) + own.mean((0, 1))
            assert found == pytest.approx(want, abs=1e-3)


def _means(x: np.ndarray, factor: int, patch: int) -> np.ndarray:
    """Means of runs of rows: those of `factor` packed rows, `patch` times as many, become `patch` rows."""
    runs = [x[first : first + factor * patch] for first in range(0, len(x), factor * patch)]
    return np.concatenate([run.reshape(patch, -1, *x.shape[1:]).mean(axis=1) for run in runs])


def test_a_flat_map_stays_flat() -> None:
    flat = mx.full((1, 7, 9, 4), 2.5)
    assert np.asarray(shrunk(flat, LatentConvention(4), 4)) == pytest.approx(2.5)
