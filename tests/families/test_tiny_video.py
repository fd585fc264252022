"""TAEHV (`taew2_1`, `taew2_2`) on one picture: as its whole network with all frames, from its own files."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tests.families.test_tiny import error
from tests.support.models import random_latents, random_tensors, random_vae, torch_shapes
from tests.support.plans import bits
from tests.support.samples import examples
from tests.support.taehv64 import decoded64, encoded64
from tests.support.tiny64 import Weights
from zvae_tiled import VAE, VAEConfig, config_of
from zvae_tiled.errors import BudgetError, ConfigError, WeightsError
from zvae_tiled.families import Mosaic, config_from
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.families.tiny import PRESETS, TinyConfig
from zvae_tiled.families.tiny_video import ALONE
from zvae_tiled.families.wan import PRESETS as WAN_PRESETS
from zvae_tiled.jobs import preview
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.weights import recognise
from zvae_tiled.weights.layout import Layout
from zvae_tiled.weights.load import load_weights
from zvae_tiled.weights.mosaics import laid_out

QWEN = QwenImageConfig(base_dim=2)
WAN_2_2 = replace(WAN_PRESETS["wan2.2"], base_dim=2, decoder_base_dim=2)
NAMES = [name for name, config in PRESETS.items() if config.memory]


def narrow(preset: str) -> TinyConfig:
    return replace(PRESETS[preset], encoder_block_out_channels=(3, 4, 5, 6), decoder_block_out_channels=(7, 6, 5, 4))


@cache
def tensors(preset: str) -> Weights:
    return random_tensors(torch_shapes(narrow(preset)))


@pytest.mark.parametrize("preset", NAMES)
def test_a_picture_is_the_last_of_the_frames_of_the_whole_network(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, stored = narrow(preset), tensors(preset)
    save_file(stored, tmp_path / f"{preset}.safetensors")
    monkeypatch.setattr(recognise, "PRESETS", {"other": PRESETS["taef1"], preset: config})
    vae = VAE.load(tmp_path / f"{preset}.safetensors", "float32", decoder_only=False)
    assert vae.config == config
    latents = 2 * random_latents(config, 2, 1)
    *others, want = decoded64(stored, [latents[0].transpose(1, 2, 0).astype(np.float64)], config.packs)
    assert len(others) == 3
    found = np.asarray(vae.decode(latents, "np", raw=True))[0] / 2 + 0.5
    assert error(found, want) < 1e-5
    assert all(error(found, other) > 0.1 for other in others)
    image = np.random.default_rng(0).random((2 * config.scale, config.scale, 3), np.float32)
    (encoded,) = encoded64(stored, [image.astype(np.float64)] * 4, config.packs)
    assert error(vae.encode(image).mode(), encoded.transpose(2, 0, 1)[None]) < 1e-5


@pytest.mark.parametrize(
    ("model", "preset"),
    [(QWEN, "taew2_1"), pytest.param(WAN_2_2, "taew2_2", marks=pytest.mark.slow)],
    ids=["qwen", "wan2.2"],
)
def test_it_makes_previews_of_a_pipelines_latents(
    model: VAEConfig, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read as the pipeline has them, with the mean and the deviation, not as the decoder of the model does."""
    monkeypatch.setattr(preview, "SECONDS", 1e9)
    tiny, latents = random_vae(narrow(preset)), random_latents(model, 2, 1)
    look = random_vae(model).preview(latents[:, :, None], tiny=tiny)
    assert bits(look.array()) == bits(tiny.decode(latents))
    assert look.made_by == "AutoencoderTiny, from all latents"


def test_the_bytes_do_not_depend_on_the_budget() -> None:
    vae = random_vae(narrow("taew2_1"), "bfloat16")
    latents = random_latents(vae.config, 3, 2)
    with pytest.raises(BudgetError) as refused:
        vae.decode(latents, budget="1B")
    least, report = vae.decode(latents, budget=f"{refused.value.needed}B", return_report=True)
    ample = vae.prepare(latents, budget="1GB")
    assert bits(ample.array()) == bits(least)
    assert ample.plan.sweeps != report.plan.sweeps
    assert report.measured_peak <= report.predicted_peak - PROCESS < report.predicted_peak <= report.budget


def test_files_have_the_names_and_shapes_of_its_author() -> None:
    """Of the three kinds of layers that are laid out anew, and of those that are not."""
    shapes = torch_shapes(config_of("taew2_1"))
    want = {
        "decoder.1.weight": (256, 16, 3, 3),
        "decoder.3.conv.0.weight": (256, 512, 3, 3),
        "decoder.7.conv.weight": (256, 256, 1, 1),
        "decoder.8.weight": (128, 256, 3, 3),
        "decoder.13.conv.weight": (256, 128, 1, 1),
        "decoder.14.weight": (64, 128, 3, 3),
        "decoder.17.conv.0.weight": (64, 128, 3, 3),
        "decoder.17.conv.4.bias": (64,),
        "decoder.19.conv.weight": (128, 64, 1, 1),
        "decoder.20.weight": (64, 64, 3, 3),
        "decoder.22.bias": (3,),
        "encoder.0.weight": (64, 3, 3, 3),
        "encoder.2.conv.weight": (64, 128, 1, 1),
        "encoder.3.weight": (64, 64, 3, 3),
        "encoder.7.conv.weight": (64, 128, 1, 1),
        "encoder.12.conv.weight": (64, 64, 1, 1),
        "encoder.14.conv.0.weight": (64, 128, 3, 3),
        "encoder.17.bias": (16,),
    }
    assert want.items() <= shapes.items()
    assert len(shapes) == 2 * (9 * 6 + 2 * 2 + 3 + 3)
    other = torch_shapes(config_of("taew2_2"))
    assert other.keys() == shapes.keys()
    assert (other["decoder.1.weight"][1], other["decoder.22.bias"]) == (48, (12,))
    assert (other["encoder.0.weight"][1], other["encoder.17.bias"]) == (12, (48,))


@pytest.mark.parametrize(
    ("name", "shape", "problem"),
    [
        (
            "decoder.3.conv.0.weight",
            (7, 7, 3, 3),
            r"decoder\.3\.conv\.0\.weight: \(7, 7, 3, 3\) stored, \(7, 14, 3, 3\)",
        ),
        ("decoder.19.conv.weight", (5, 5, 1, 1), r"decoder\.19\.conv\.weight: \(5, 5, 1, 1\) stored"),
        ("decoder.17.conv.4.bias", (10,), r"decoder\.17\.conv\.4\.bias: \(10,\) stored, \(5,\) expected"),
    ],
)
def test_other_shapes_are_refused_before_a_value_is_read(name: str, shape: tuple[int, ...], problem: str) -> None:
    given_tensors = tensors("taew2_1") | {name: np.full(shape, np.nan, np.float32)}
    with pytest.raises(WeightsError, match=problem):
        VAE.from_state_dict(given_tensors, narrow("taew2_1"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"memory": 1}, "memory must be true or false"),
        ({"pools": True}, "memory must be false with encoder_stem, pools or patch"),
        ({"num_decoder_blocks": [3, 3, 3, 1]}, r"num_decoder_blocks\[3\] must be 0 with memory, it is 1"),
        ({"num_encoder_blocks": [False, 3, 3, 3]}, r"num_encoder_blocks\[0\] must be 0 with memory"),
        ({"num_encoder_blocks": [0.0, 3, 3, 3]}, r"num_encoder_blocks\[0\] must be 0 with memory, it is 0\.0"),
        ({"num_encoder_blocks": [np.zeros(2), 3, 3, 3]}, r"num_encoder_blocks\[0\] must be 0 with memory"),
        ({"num_decoder_blocks": [0, 3, 3, 0]}, r"num_decoder_blocks\[0\] must be a whole number"),
        (
            {
                "decoder_block_out_channels": [4, 4, 4],
                "num_decoder_blocks": [3, 3, 0],
                "encoder_block_out_channels": [4, 4, 4],
                "num_encoder_blocks": [0, 3, 3],
            },
            "decoder_block_out_channels must list 4 widths with memory, it lists 3",
        ),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(change: dict[str, Any], problem: str) -> None:
    fields = {
        "memory": True,
        "num_encoder_blocks": [0, 3, 3, 3],
        "num_decoder_blocks": [3, 3, 3, 0],
        "_class_name": "AutoencoderTiny",
    }
    with pytest.raises(ConfigError, match=problem):
        config_from(fields | change)


@given(st.data())
@examples(50)
def test_a_mosaic_is_its_pieces_and_zeros(data: st.DataObject) -> None:
    rows, columns, height, width, kernel = (data.draw(st.integers(1, 3)) for _ in range(5))
    piece = st.none() | st.integers(0, rows * columns - 1)
    pieces = tuple(tuple(data.draw(piece) for _ in range(width)) for _ in range(height))
    mosaic, size = Mosaic(pieces, rows, columns), (2, kernel, kernel, 5)
    full = (2 * rows, kernel, kernel, 5 * columns)
    stored = np.arange(1.0, prod(full) + 1, dtype=np.float32).reshape(full)
    flat = [each for row in np.split(stored, rows) for each in np.split(row, columns, axis=-1)]
    nothing = np.zeros(size, np.float32)
    want = [np.concatenate([nothing if each is None else flat[each] for each in row], axis=-1) for row in pieces]
    whole = np.concatenate(want)
    assert mosaic.stored(whole.shape) == full
    assert bits(laid_out(stored, full, mosaic, Layout.MLX).reshape(whole.shape)) == bits(whole)
    found = laid_out(stored.transpose(0, 3, 1, 2), full, mosaic, Layout.PYTORCH)
    turned = found.reshape(len(whole), -1, kernel, kernel).transpose(0, 2, 3, 1)
    assert bits(np.ascontiguousarray(turned)) == bits(whole)


def test_loading_takes_one_stored_tensor_beside_its_own_copy(tmp_path: Path) -> None:
    name, stored = "decoder.3.conv.0", np.ones((128, 512, 3, 3), np.float32)
    save_file({f"{name}.weight": stored}, tmp_path / "a.safetensors")
    own, loaded = stored.nbytes // 2, []
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    tracemalloc.start()
    shapes = {f"{name}.weight": (128, 3, 3, 256)}
    place = tmp_path / "a.safetensors"
    load_weights(place, shapes, mx.float32, lambda _, array: loaded.append(array), mosaics={name: ALONE})
    _, host = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mx.get_peak_memory() - before <= 2 * own + 1e5
    assert host <= stored.nbytes + own + 2e6
    assert [array.shape for array in loaded] == [(128, 3, 3, 256)]
