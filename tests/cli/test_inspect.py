"""`zvae inspect`: a VAE, a preset, a config, and latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.running import run


def test_a_vae_is_inspected(place: Path) -> None:
    told = run("inspect", "vae").stdout
    for line in ("latents    4 channels, one for 2x2 pixels", "widths     8, 8", "like       no preset", "F32"):
        assert line in told
    assert run("inspect", "vae/diffusion_pytorch_model.safetensors").stdout == told
    (place / "vae" / "config.json").rename(place / "away.json")
    told = run("inspect", "vae").stdout
    weights = "vae/diffusion_pytorch_model.safetensors"
    assert f"there is no config.json beside {weights}, and no preset has their names and shapes" in told
    assert "nowhere" in run("inspect", "nowhere", code=3).stderr


def test_a_preset_and_a_config_are_inspected_without_weights(place: Path) -> None:
    told = run("inspect", "z-image").stdout
    for line in (
        "latents    16 channels",
        "widths     128, 256, 512, 512",
        "Tongyi-MAI/Z-Image-Turbo",
        "like       z-image",
    ):
        assert line in told
    assert f"files      none: the Hugging Face cache ({place / 'hub'}) has none" in told
    assert "models" not in run("inspect", "pixel-space").stdout
    assert "latents    4 channels, one for 2x2 pixels" in run("inspect", "vae/config.json").stdout
    for model, name in (("Tongyi-MAI/Z-Image-Turbo", "z-image"), ("a/b", "a/b")):
        folder = place / "hub" / f"models--{model.replace('/', '--')}" / "snapshots" / "a1"
        folder.mkdir(parents=True)
        (folder / "vae").symlink_to(place / "vae")
        assert run("inspect", name).stdout == run("inspect", folder / "vae").stdout


def test_latents_are_inspected(place: Path) -> None:
    told = run("inspect", "a.npy").stdout
    values = np.load(place / "a.npy")
    assert "shape      1 x 4 x 6 x 10, float32" in told
    assert f"mean {values.mean():.3g}, spread {values.std():.3g}, least {values.min():.3g}" in told
    assert "scaled, as from a pipeline" in told
    values[0, 0, 0, :3] = np.nan
    np.save(place / "bad.npy", values)
    assert "3 of 240 are NaN or infinite: cannot be decoded" in run("inspect", "bad.npy").stdout


@pytest.mark.parametrize(
    ("shape", "said", "read_as"),
    [
        ((1, 4, 2, 3), {}, "NCHW,"),
        ((1, 2, 3, 4), {"layout": "NHWC"}, "NHWC,"),
        ((4, 2, 3), {}, "NCHW; packed tokens with --height and --width,"),
        ((1, 6, 16), {"height": "4", "width": "6"}, "packed tokens,"),
        ((6, 16), {}, "packed tokens,"),
        ((1, 4, 2, 3), {"height": "4", "width": "6", "packed": "false"}, "NCHW,"),
    ],
)
def test_inspect_says_how_latents_would_be_read(
    place: Path, shape: tuple[int, ...], said: dict[str, str], read_as: str
) -> None:
    save_file({"latents": np.ones(shape, np.float32)}, place / "c.safetensors", said)
    assert f"read as    {read_as}" in run("inspect", "c.safetensors").stdout
