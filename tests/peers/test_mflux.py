"""Snapshots that mflux's own classes save: loaded here, they decode and encode as in mflux."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.mflux import Packing, stored_shapes
from tests.support.models import random_tensors
from zvae_tiled import VAE
from zvae_tiled.weights.find import find_checkpoint
from zvae_tiled.weights.safetensors_file import SafetensorsFile

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
"""Largest error allowed, in standard deviations of the output."""

SIDE = 16
"""Height and width of the pictures, the least that FLUX.2 has: with MLX's own BLAS mflux needs seconds for it."""


@pytest.fixture(autouse=True)
def _float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let mflux compute in float32: its classes round to this type after each norm."""
    from mflux.models.common.config.model_config import ModelConfig

    monkeypatch.setattr(ModelConfig, "precision", mx.float32)


BITS = {
    "flux1": (None, 4),
    "z-image": (None, 8),
    "flux2": (None, 4),
    "flux2-small": (None, 8),
    "qwen-image": (None, 8),
    "ming-image": (None, 8),
}
"""How each class is saved. Of the last two mflux quantises no layer: their attention is made of convolutions."""


@pytest.mark.parametrize("preset", BITS)
def test_a_snapshot_is_the_model_that_was_saved(preset: str, tmp_path: Path) -> None:
    """Of full width, because mflux's classes have no other."""
    from mflux.models.common.weights.saving.model_saver import ModelSaver

    from tests.data.make_mflux_names import diffusers_shapes, loaded

    shapes = {name: shape for name, shape in diffusers_shapes(preset).items() if shape}
    stored = {name: mx.array(values) for name, values in random_tensors(shapes).items()}
    for bits in BITS[preset]:
        model, folder = loaded(preset, stored, bits), tmp_path / f"{bits}"
        ModelSaver._save_weights(str(folder), bits, model, "vae")
        assert_is_listed(folder, preset, bits)
        assert_same(VAE.load(folder, "float32", config=preset, decoder_only=False), model)


def assert_is_listed(folder: Path, preset: str, bits: int | None) -> None:
    """The table that the tests without mflux read is what mflux saves."""
    listed = stored_shapes(preset, None if bits is None else Packing(bits, 64))
    (path,) = find_checkpoint(folder).files
    with SafetensorsFile(path) as file:
        assert {name: info.shape for name, info in file.tensors.items()} == {
            name: shape for name, (_, shape) in listed.items()
        }
        packed = {name for name, (kind, _) in listed.items() if kind == "U32"}
        assert packed == {name for name, info in file.tensors.items() if info.dtype == "U32"}


def assert_same(ours: VAE, theirs: Any) -> None:
    rng, cells = np.random.default_rng(1), SIDE // ours.config.cell
    latents = rng.standard_normal((1, ours.config.latents.channels, cells, cells), np.float32)
    images = rng.random((1, SIDE, SIDE, ours.config.in_channels), np.float32)
    want = decoded(theirs, latents)
    if ours.config.clips:
        want = want.clip(-1, 1)
    assert np.abs(ours.decode(latents, "np", raw=True) - want).max() < TOLERANCE * want.std()
    mean = encoded(theirs, images)
    assert np.abs(np.asarray(ours.encode(images).mode()) - mean).max() < TOLERANCE * mean.std()


def decoded(model: Any, latents: np.ndarray) -> np.ndarray:
    """mflux's decode of a pipeline's latents, NHWC."""
    decode = model.decode_packed_latents if hasattr(model, "bn") else model.decode
    picture = np.array(decode(mx.array(latents)))
    return np.moveaxis(picture.reshape(1, -1, SIDE, SIDE), 1, -1)


def encoded(model: Any, images: np.ndarray) -> np.ndarray:
    """mflux's encode of pictures in [0, 1] into a pipeline's latents, NCHW."""
    from mflux.models.flux2.latent_creator.flux2_latent_creator import Flux2LatentCreator

    latents = model.encode(mx.array(np.moveaxis(images * 2 - 1, -1, 1)))
    if hasattr(model, "bn"):
        latents = Flux2LatentCreator.patchify_latents(model.normalize_latents(latents))
    return np.array(latents[:, :, 0] if latents.ndim == 5 else latents)
