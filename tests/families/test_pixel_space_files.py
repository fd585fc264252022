"""Pixel space has no weights: its preset needs no file, and ComfyUI's file for it is recognised by its one tensor."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.families.test_pixel_space import PIXELS, picture, pixels
from zvae_tiled import VAE
from zvae_tiled.cli.sources import named_config
from zvae_tiled.errors import ConfigError, WeightsError
from zvae_tiled.order import Order, run


def test_the_preset_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("pixels.npy", pixels(1, 3, 20, 30))
    order = Order.from_json(Order("decode", "pixel-space", "pixels.npy", "picture.png").to_json())
    assert run(order).plan.case.config == PIXELS
    vae = VAE.load("pixel-space", "float32")
    assert (vae.config, vae.weights, vae.sources, vae.dtype) == (PIXELS, {}, (), mx.float32)
    Path("pixel-space").mkdir()
    with pytest.raises(WeightsError, match="pixel-space holds no weights"):
        VAE.load("pixel-space")


def test_comfyui_s_file_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "pixel_space.safetensors"
    save_file({"pixel_space_vae": np.array(1.0, np.float32)}, path)
    assert named_config(str(path), None) == PIXELS
    given = pixels(1, 3, 6, 7)
    for config in (None, "pixel-space"):
        vae = VAE.load(path, config=config, decoder_only=False)
        assert vae.config == PIXELS
        assert np.array_equal(vae.decode(given, "np"), picture(mx.array(given)))


@pytest.mark.parametrize("name", ["encoder.conv_in.weight", "quant_conv.bias", "pixel_space_vae.weight"])
def test_other_files_are_not(name: str, tmp_path: Path) -> None:
    save_file({name: np.zeros((1, 1), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="no preset has their names and shapes"):
        VAE.load(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="pixel_space_vae"):
        VAE.load(tmp_path / "other.safetensors", config="pixel-space")
