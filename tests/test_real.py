"""TAEF2, a trained VAE: decoded and encoded as in float64. `ZVAE_REAL_WEIGHTS` names the folder with its two files."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support.plans import bits
from tests.support.tiny64 import TAEF1, run64
from zvae_tiled import VAE, Tiles, config_of
from zvae_tiled.errors import BudgetError
from zvae_tiled.inputs.pictures import read_picture

pytestmark = pytest.mark.real

FOLDER = Path(os.environ.get("ZVAE_REAL_WEIGHTS", "ZVAE_REAL_WEIGHTS-is-not-set"))
CAT = Path(__file__).parents[1] / "zvae_tiled" / "demo" / "cat.png"

ERRORS = {"float32": 2e-6, "bfloat16": 2e-2, "float16": 3e-3}
"""The RMS error in each type, as a share of the RMS, at most. PyTorch's are 5e-7, 1.3e-2 and 1.7e-3."""


@cache
def own(half: str) -> dict[str, np.ndarray]:
    """The weights of a half as the file has them, in float64."""
    return {name: w.astype(np.float64) for name, w in load_file(FOLDER / f"taef2_{half}.safetensors").items()}


@cache
def picture() -> np.ndarray:
    """A photograph of a cat, 96 x 160."""
    return read_picture(CAT).astype(np.float32)[100:196, 100:260] / 255


@cache
def latents64() -> np.ndarray:
    """What the encoder makes of it: (h, w, 32)."""
    return run64(TAEF1[1], own("encoder"), picture().astype(np.float64))


def packed(latents: np.ndarray) -> np.ndarray:
    """As FLUX.2's pipeline packs (h, w, C): (1, 4C, h/2, w/2), channel 4c + 2dy + dx."""
    squares = np.stack([latents[down::2, right::2] for down in (0, 1) for right in (0, 1)], axis=-1)
    return squares.reshape(*squares.shape[:2], -1).transpose(2, 0, 1)[None]


def error(found: np.ndarray, want: np.ndarray) -> float:
    return float(np.sqrt(np.square(found - want).mean() / np.square(want).mean()))


@pytest.mark.parametrize("dtype", ERRORS)
def test_it_decodes_and_encodes_as_in_float64(dtype: str) -> None:
    vae = VAE.load(FOLDER, dtype, decoder_only=False)
    assert vae.config == config_of("taef2")
    want = run64(TAEF1[0], own("decoder"), latents64())
    latents = packed(latents64()).astype(np.float32)
    found = vae.decode(latents, "np", raw=True)
    assert error(np.asarray(found)[0] / 2 + 0.5, want) < ERRORS[dtype]
    mode = np.asarray(vae.encode(picture()).mode().astype(mx.float32))
    assert error(mode, packed(latents64())) < ERRORS[dtype]


def test_the_cat_comes_back() -> None:
    vae = VAE.load(FOLDER, "float32", decoder_only=False)
    again = np.asarray(vae.decode(vae.encode(picture()).mode()))[0]
    assert 10 * np.log10(1 / np.square(again - picture()).mean()) > 25


def test_any_budget_gives_the_same_bytes_and_tiles_are_exact_with_the_moments_of_all() -> None:
    vae = VAE.load(FOLDER)
    latents = packed(latents64()).astype(np.float32)
    with pytest.raises(BudgetError) as refused:
        vae.decode(latents, budget="1B")
    whole, least = (vae.decode(latents, budget=budget) for budget in ("4GB", f"{refused.value.needed}B"))
    assert bits(whole) == bits(least)
    tiles, report = vae.decode(latents, quality=Tiles(80, overlap=64), return_report=True)
    assert error(np.asarray(tiles), np.asarray(whole)) < ERRORS["bfloat16"]
    assert report.statistics
