"""Every form of a checkpoint gives the same arrays, and no byte of an unwanted tensor is read."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoints import Blob, Shape, expected_shapes, to_mlx_layout, write
from zvae_tiled.weights.find import find_checkpoint
from zvae_tiled.weights.values import PIECE

from .loading import (
    DECODER,
    ENCODER,
    EXPECTED,
    ROWS,
    WEIGHTS,
    as_convolutions,
    assert_is_reference,
    load,
    refused,
    shards,
)


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "vae."])
@pytest.mark.parametrize("column", ["name", "original", "old"])
@pytest.mark.sample(2)
def test_every_scheme_gives_the_identical_arrays(file: Path, column: str, prefix: str) -> None:
    stored = WEIGHTS if column == "name" else as_convolutions(WEIGHTS)
    assert_is_reference(load(write(file, {prefix + getattr(row, column): stored[row.name] for row in ROWS})))


def test_mlx_layout_gives_the_identical_arrays(file: Path) -> None:
    assert_is_reference(load(write(file, {name: to_mlx_layout(values) for name, values in WEIGHTS.items()})))


def test_linear_maps_and_1x1_convolutions_stand_for_each_other(file: Path) -> None:
    flat = {name: np.squeeze(v) if v.shape[2:] == (1, 1) else v for name, v in as_convolutions(WEIGHTS).items()}
    assert_is_reference(load(write(file, flat)))
    deep = {name: v[:, :, None] if ".attentions." in name and v.ndim == 2 else v for name, v in WEIGHTS.items()}
    assert_is_reference(load(write(file, deep)))


def test_three_dimensional_convolutions_move_their_input_channels_last(file: Path) -> None:
    values = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.float32).reshape(2, 3, 4, 5, 6)
    loaded = load(write(file, {"decoder.conv_in.weight": values}), {"decoder.conv_in.weight": (2, 4, 5, 6, 3)})
    assert np.array_equal(np.array(loaded["decoder.conv_in.weight"]), np.moveaxis(values, 1, -1))


def test_a_folder_and_what_find_checkpoint_returned(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    write(tmp_path / "vae/diffusion_pytorch_model.safetensors", WEIGHTS)
    assert_is_reference(load(tmp_path))
    assert_is_reference(load(str(tmp_path)))
    assert_is_reference(load(find_checkpoint(tmp_path)))


def test_shards_give_the_identical_arrays(tmp_path: Path) -> None:
    assert_is_reference(load(shards(tmp_path)))


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("source", ["F64", "F32", "F16", "BF16"])
def test_every_type_becomes_the_one_asked_for(file: Path, source: str, dtype: mx.Dtype) -> None:
    values = mx.random.normal((PIECE // 64 + 1, 4, 4, 5), key=mx.random.key(1))  # more than one piece
    kind = {"F16": mx.float16, "BF16": mx.bfloat16}.get(source, mx.float32)
    rounded = values.astype(kind)
    blob = Blob(source, np.array(rounded.view(mx.uint16)) if source == "BF16" else np.array(rounded))
    assert blob.values.size > PIECE
    (loaded,) = load(write(file, {"x.weight": blob}), {"x.weight": (values.shape[0], 4, 5, 4)}, dtype).values()
    assert mx.array_equal(loaded, mx.moveaxis(rounded, 1, -1).astype(dtype)).item()


@given(shapes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), min_size=1, max_size=4))
def test_any_shapes_arrive_as_they_were(tmp_path_factory: pytest.TempPathFactory, shapes: list[Shape]) -> None:
    weights = {f"t{i}": np.random.default_rng(i).standard_normal(s).astype(np.float32) for i, s in enumerate(shapes)}
    path = write(tmp_path_factory.mktemp("any") / "f.safetensors", weights)
    for name, array in load(path, expected_shapes(weights)).items():
        assert np.array_equal(np.array(array), to_mlx_layout(weights[name]))


# The encoder is not read.


@pytest.mark.parametrize("column", ["name", "original"])
def test_decoder_only_never_reads_the_encoder(file: Path, reads: list[tuple[int, int]], column: str) -> None:
    # Tensors of encoder and decoder alternate in the file. The encoder's NaN would be refused if they were read.
    rows = [row for pair in zip(ROWS[: len(ROWS) // 2], ROWS[len(ROWS) // 2 :], strict=True) for row in pair]
    stored = {
        getattr(row, column): WEIGHTS[row.name] if row.name in DECODER else np.full(row.shape, np.nan, np.float32)
        for row in rows
    }
    size = write(file, stored).stat().st_size
    assert_is_reference(load(file, DECODER, ignore=ENCODER))
    start = size - sum(values.nbytes for values in stored.values())
    wanted: list[tuple[int, int]] = []
    unwanted: list[tuple[int, int]] = []
    for row, values in zip(rows, stored.values(), strict=True):
        (wanted if row.name in DECODER else unwanted).append((start, start + values.nbytes))
        start += values.nbytes
    touched = [(a, b) for a, b in reads if a >= wanted[0][0]]
    assert not [(a, b) for a, b in touched for c, d in unwanted if a < d and c < b]
    assert sum(b - a for a, b in touched) == sum(b - a for a, b in wanted)


def test_without_ignore_the_encoder_is_extra(file: Path) -> None:
    assert f"not part of this VAE ({len(EXPECTED) - len(DECODER)}):" in refused(write(file, WEIGHTS), DECODER)


def test_an_ignored_encoder_may_be_of_any_type_and_shape(file: Path) -> None:
    odd = {
        "encoder.conv_in.weight": Blob("I64", np.zeros((1,))),
        "quant_conv.weight": Blob("U8", np.zeros((7, 7))),
    }
    assert_is_reference(load(write(file, {**WEIGHTS, **odd}), DECODER, ignore=ENCODER))


def test_quant_conv_is_not_post_quant_conv(file: Path) -> None:
    stored = {name: values for name, values in WEIGHTS.items() if not name.startswith("post_quant_conv.")}
    message = refused(write(file, stored), DECODER, ignore=ENCODER)
    assert "missing (2):\npost_quant_conv.weight (4, 1, 1, 4)" in message
