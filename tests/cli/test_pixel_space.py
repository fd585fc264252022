"""`zvae` with the preset that needs no weights, and with the file that ComfyUI has for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.support.running import run


@pytest.fixture
def levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The picture of the pixels in pixels.npy. There is no cache of models."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    want = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    np.save("pixels.npy", want.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
    save_file({"pixel_space_vae": np.array(1.0, np.float32)}, "comfyui.safetensors")
    return want


@pytest.mark.parametrize("vae", ["pixel-space", "comfyui.safetensors"])
@pytest.mark.parametrize("quality", ["exact", "stream", "tiles"])
@pytest.mark.sample(5)
def test_pixels_become_a_picture_and_a_picture_pixels(vae: str, quality: str, levels: np.ndarray) -> None:
    told = run("decode", "pixels.npy", "-o", "picture.png", "--vae", vae, "--quality", quality, "--save-plan", "p.json")
    assert "same pixels as a full decode" in told.output
    with Image.open("picture.png") as image:
        assert np.array_equal(np.asarray(image), levels)
    run("decode", "pixels.npy", "-o", "again.png", "--vae", vae, "--plan", "p.json")
    run("compare", "pixels.npy", "--reference", "full", "--vae", vae)
    run("encode", "picture.png", "-o", "encoded.npy", "--vae", vae, "--dtype", "float32")
    assert np.abs(np.load("encoded.npy") - np.load("pixels.npy")).max() < 1e-6


@pytest.mark.parametrize("vae", ["pixel-space", "comfyui.safetensors"])
def test_inspect_and_plan_know_it(vae: str, levels: np.ndarray) -> None:
    told = run("inspect", vae).stdout
    assert "family     PixelSpace" in told
    assert "widths     none" in told
    assert ("none: this VAE has no weights" in told) == (vae == "pixel-space")
    assert "0-0" in run("plan", "4096", "--vae", vae, "--budget", "1GB", "--sweeps").stdout


def test_an_output_never_replaces_its_pixels(levels: np.ndarray) -> None:
    before = Path("pixels.npy").read_bytes()
    run("decode", "pixels.npy", "-o", "pixels.npy", "--vae", "pixel-space", code=2)
    assert Path("pixels.npy").read_bytes() == before
