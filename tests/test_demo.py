"""The VAE that comes with the package: small, trained, and the same to every reader; and the latents beside it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from tests.support.float64 import decode64
from zvae_tiled import VAE, Tiles, VAEConfig, config_of, demo
from zvae_tiled.errors import LatentsError
from zvae_tiled.report.metrics import psnr, seam_score

MIB = 1 << 20
FLOOR = 29.0
"""Least PSNR in dB of a picture outside the training set."""


@cache
def loaded() -> VAE:
    return VAE.demo("float32", decoder_only=False)


@cache
def cat() -> np.ndarray:
    with Image.open(demo.PICTURE) as image:
        return np.asarray(image, np.float32) / 255


def test_it_is_small() -> None:
    weights = demo.FOLDER / "diffusion_pytorch_model.safetensors"
    assert VAE.demo(decoder_only=False).weight_bytes <= weights.stat().st_size <= 4 * MIB
    assert sum(demo.path(name).stat().st_size for name in demo.names()) <= 4 * MIB


def test_it_is_built_as_the_published_ones_are() -> None:
    """Only its widths are its own: so its Steps are those of Z-Image, one by one."""

    def steps(config: VAEConfig) -> list[tuple[str, str, int]]:
        return [(step.name, step.kind, step.kernel) for step in config.chain("decode").steps]

    assert steps(VAE.demo().config) == steps(config_of("z-image"))


def test_the_encoder_is_left_out_unless_asked_for() -> None:
    assert not any(name.startswith(("encoder.", "quant_conv.")) for name in VAE.demo().weights)
    assert any(name.startswith("encoder.") for name in loaded().weights)


def test_a_picture_it_never_saw_comes_back() -> None:
    assert psnr(VAE.demo().decode(demo.latents("cat"), output_type="np")[0], cat()) > FLOOR


def test_the_latents_are_what_the_encoder_gives() -> None:
    encoded = np.asarray(loaded().encode(cat()).mode())
    assert np.abs(demo.latents("cat") - encoded).max() < 5e-3  # float16 at up to 8


@pytest.mark.parametrize("name", demo.names())
def test_latents_are_standardised_and_say_what_they_are(name: str) -> None:
    latents = demo.latents(name).astype(np.float32)
    assert abs(latents.mean()) < 0.5
    assert 0.5 < latents.std() < 1.5
    with safe_open(demo.path(name), "np") as file:
        about = file.metadata()
    height, width = (8 * extent for extent in latents.shape[2:])
    assert about == {"height": str(height), "width": str(width), "packed": "false", "scaled": "true"}


def test_one_of_the_latents_is_large() -> None:
    height, width = max(demo.latents(name).shape[2:] for name in demo.names())
    assert 8 * height * 8 * width >= 4_000_000, "of a picture of four megapixels"


def test_unknown_latents_are_refused_and_the_known_ones_named() -> None:
    with pytest.raises(LatentsError, match="no latents of the demo are called 'dog'") as error:
        demo.latents("dog")
    assert all(name in error.value.advice for name in demo.names())


def test_a_decode_equals_the_reference_in_float64() -> None:
    latents = demo.latents("cat")[:, :, 8:20, 10:26].astype(np.float32)
    want = decode64(loaded(), latents)
    got = loaded().decode(latents, output_type="np", raw=True, budget="24MB")
    assert np.abs(got - want).max() < 1e-4 * want.std()


@pytest.mark.slow
def test_tiles_with_their_own_moments_show_and_an_exact_decode_does_not() -> None:
    latents = demo.latents("cat")[..., 12:28, 8:32]  # an eye, the nose, the cheek between them
    exact = loaded().decode(latents, output_type="np")
    naive, report = loaded().decode(latents, output_type="np", quality=Tiles(64, 0, moments="tile"), return_report=True)
    assert not report.exact
    assert seam_score(naive, report.plan) > 2 * seam_score(exact, report.plan)


def test_listing_and_reading_latents_needs_no_mlx() -> None:
    code = (
        "import sys; from zvae_tiled import demo; print(demo.latents(demo.names()[0]).shape[1]); "
        "print([name for name in sys.modules if name == 'mlx' or name.startswith('mlx.')])"
    )
    child = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert child.stdout.splitlines() == ["16", "[]"], child.stderr


def test_a_wheel_takes_every_file_along() -> None:
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["zvae_tiled.demo"]
    there = {path for path in demo.FOLDER.rglob("*") if path.is_file() and not path.match("*.py*")}
    assert there == {path for pattern in patterns for path in demo.FOLDER.glob(pattern)}


@pytest.mark.slow
def test_the_large_picture_is_the_same_under_a_tight_budget() -> None:
    tight, wide = (VAE.demo().decode(demo.latents("album"), budget=budget) for budget in ("80MB", "400MB"))
    assert mx.array_equal(tight, wide).item()
