"""Snapshots of every VAE class of mflux are read, plain and quantised: their names, layouts and packing."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tests.support.checkpoints import Array, to_mlx_layout, write
from tests.support.mflux import Packing, listed, write_with_values, write_without_values
from tests.support.models import FLUX2, random_tensors, torch_shapes
from tests.support.models import narrow as narrow_kl
from zvae_tiled.errors import WeightsError
from zvae_tiled.families import VAEConfig, config_of
from zvae_tiled.weights.find import find_checkpoint
from zvae_tiled.weights.layout import Layout
from zvae_tiled.weights.load import fits, headers, load_weights
from zvae_tiled.weights.recognise import fitting_presets
from zvae_tiled.weights.vae import read_weights, shapes_of

DATA = Path(__file__).parent.parent / "data"
WIDTHS = (8, 16, 32, 32)
"""Each level has a shortcut where the published widths have one. A group of 32 values fits into the attention."""

SAME_SHAPES = {
    "flux1": {"flux1", "z-image", "sd3"},
    "z-image": {"flux1", "z-image", "sd3"},
    "flux2": {"flux2", "ideogram4", "ernie-image", "fibo2"},
    "flux2-small": {"flux2-small"},
    "qwen-image": {"qwen-image", "wan2.1"},
    "ming-image": {"qwen-image-layered", "ming-image"},
}
"""The presets of each class. Only the latents tell them apart."""

classes = pytest.mark.parametrize("preset", sorted(SAME_SHAPES))


@classes
@pytest.mark.parametrize("packing", [None, Packing(4, 64), Packing(8, 64), Packing(4, 32)], ids=str)
def test_a_snapshot_has_the_tensors_of_its_preset(preset: str, packing: Packing | None, tmp_path: Path) -> None:
    write_without_values(tmp_path, preset, packing)
    checkpoint, config = find_checkpoint(tmp_path), config_of(preset)
    assert fits(headers(checkpoint), shapes_of(config), config.unused, config.causal)


@classes
@pytest.mark.sample(4)
def test_which_presets_a_snapshot_fits(preset: str, tmp_path: Path) -> None:
    write_without_values(tmp_path, preset, Packing(8, 64))
    assert set(fitting_presets(find_checkpoint(tmp_path))) == SAME_SHAPES[preset]


def test_every_class_is_listed() -> None:
    assert listed().keys() == SAME_SHAPES.keys()


def narrow(preset: str) -> tuple[VAEConfig, dict[str, Array]]:
    """A narrow model: its config, and its weights as diffusers stores them."""
    if preset == "qwen-image":
        folder = DATA / preset
        stored = load_file(folder / "diffusion_pytorch_model.safetensors")
        return config_of(folder / "config.json"), {name: values.astype(np.float32) for name, values in stored.items()}
    config: VAEConfig
    if preset.startswith("flux2"):
        small = (16, 32, 64, 64) if preset == "flux2-small" else None
        config = replace(FLUX2, block_out_channels=WIDTHS, decoder_block_out_channels=small)
    else:
        config = narrow_kl(preset, WIDTHS)
    return config, random_tensors(torch_shapes(config))


def rounded(values: Array, packing: Packing) -> Array:
    """Values as they are after quantising and back."""
    bits, group = packing
    packed, scales, biases = mx.quantize(mx.array(values), group_size=group, bits=bits)
    return np.array(mx.dequantize(packed, scales, biases, group_size=group, bits=bits))


@pytest.mark.parametrize(
    ("preset", "packing"),
    list(product(["flux1", "z-image", "flux2", "flux2-small", "qwen-image"], [None, Packing(4, 32), Packing(8, 32)])),
    ids=str,
)
@pytest.mark.sample(6)
def test_a_snapshot_holds_the_same_vae(preset: str, packing: Packing | None, tmp_path: Path) -> None:
    config, tensors = narrow(preset)
    write_with_values(tmp_path, preset, tensors, packing)
    for _, quantised, source in listed()[preset].values():
        if quantised and packing is not None:
            tensors[source] = rounded(tensors[source], packing)
    save_file(tensors, tmp_path / "diffusers.safetensors")
    ours, theirs = (
        read_weights(find_checkpoint(path), config, mx.float32, decoder_only=False)
        for path in (tmp_path, tmp_path / "diffusers.safetensors")
    )
    assert ours.keys() == theirs.keys() == shapes_of(config).keys()
    for name, values in theirs.items():
        assert mx.array_equal(ours[name], values).item(), name


@given(
    outputs=st.integers(1, 4),
    inputs=st.integers(1, 4),
    frames=st.integers(0, 5),
    kernel=st.integers(2, 3),
    layout=st.sampled_from(Layout),
)
def test_the_last_slice_is_kept_in_either_layout(
    tmp_path_factory: pytest.TempPathFactory, outputs: int, inputs: int, frames: int, kernel: int, layout: Layout
) -> None:
    values = np.random.default_rng(0).standard_normal((outputs, inputs, frames, kernel, kernel)).astype(np.float32)
    tensors = {"a.weight": values, "b.weight": np.ones((5, 7, 3, 3), np.float32)}  # the second has no doubtful layout
    expected = {"a.weight": (outputs, kernel, kernel, inputs), "b.weight": (5, 3, 3, 7)}
    stored = {name: to_mlx_layout(each) if layout is Layout.MLX else each for name, each in tensors.items()}
    path = write(tmp_path_factory.mktemp("vae") / "vae.safetensors", stored)
    loaded: dict[str, mx.array] = {}
    if 1 <= frames <= 3:
        load_weights(path, expected, mx.float32, loaded.__setitem__, causal=True)
        assert np.array_equal(loaded["a.weight"], to_mlx_layout(values[:, :, -1]))
    else:
        with pytest.raises(WeightsError, match=r"mis-shaped \(1\):\s+a\.weight"):
            load_weights(path, expected, mx.float32, loaded.__setitem__, causal=True)
