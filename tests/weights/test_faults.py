"""All faults of a checkpoint are named in one message."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from tests.support.checkpoints import Blob, expected_shapes, open_files, to_mlx_layout, write
from zvae_tiled import VAE
from zvae_tiled.errors import InputError, WeightsError
from zvae_tiled.weights.load import load_weights

from .loading import DECODER, EXPECTED, ROWS, WEIGHTS, load, refused, shards


def test_missing_extra_and_mis_shaped_are_all_listed(file: Path) -> None:
    stored = dict(WEIGHTS)
    del stored["decoder.conv_in.weight"], stored["decoder.conv_in.bias"]
    stored["decoder.extra.weight"] = np.zeros(3, np.float32)
    stored["decoder.conv_out.weight"] = np.zeros((3, 9, 3, 3), np.float32)
    stored["decoder.conv_out.bias"] = np.zeros((4,), np.float32)
    message = refused(write(file, stored))
    assert "missing (2):\ndecoder.conv_in.weight (16, 3, 3, 4)" in message
    assert "decoder.conv_in.bias (16,)" in message
    assert "not part of this VAE (1):\ndecoder.extra.weight" in message
    assert "mis-shaped (2):" in message
    assert "decoder.conv_out.weight: (3, 9, 3, 3) stored, (3, 8, 3, 3) expected, or (3, 3, 3, 8) from MLX" in message
    assert "decoder.conv_out.bias: (4,) stored, (3,) expected" in message
    assert str(file) in message


def test_nothing_is_assigned_or_read_before_everything_fits(file: Path, reads: list[tuple[int, int]]) -> None:
    stored = dict(WEIGHTS) | {"decoder.conv_out.bias": np.zeros(4, np.float32)}
    size = write(file, stored).stat().st_size
    data_start = size - sum(values.nbytes for values in stored.values())
    with pytest.raises(WeightsError):
        load_weights(file, EXPECTED, mx.float32, lambda name, array: pytest.fail("assigned"))
    assert max(stop for _, stop in reads) == data_start


def test_an_extra_tensor_is_shown_by_the_name_it_has_in_the_file(file: Path) -> None:
    stored = {row.original: WEIGHTS[row.name] for row in ROWS} | {"decoder.mid.attn_1.q.extra": np.zeros(1)}
    message = refused(write(file, {name: values.astype(np.float32) for name, values in stored.items()}))
    assert "decoder.mid.attn_1.q.extra (is decoder.mid_block.attentions.0.to_q.extra)" in message


def test_a_tensor_under_two_names_is_refused(file: Path) -> None:
    message = refused(write(file, WEIGHTS | {"decoder.norm_out.weight": WEIGHTS["decoder.conv_norm_out.weight"]}))
    assert "stored twice (1):" in message
    assert "decoder.conv_norm_out.weight and decoder.norm_out.weight are both decoder.conv_norm_out" in message


def test_a_bias_of_many_axes_is_refused(file: Path) -> None:
    name = next(row.name for row in ROWS if row.name.endswith(".bias"))
    weights = {**WEIGHTS, name: WEIGHTS[name].reshape(-1, *(1,) * 8)}
    assert name in refused(write(file, weights))
    load(write(file, {**WEIGHTS, name: WEIGHTS[name].reshape(-1, 1, 1)}))


def test_long_lists_are_cut_and_counted(file: Path) -> None:
    message = refused(write(file, {f"x{i}": np.zeros(1, np.float32) for i in range(25)}))
    assert f"missing ({len(EXPECTED)}):" in message
    assert f"… and {len(EXPECTED) - 20} more" in message
    assert "not part of this VAE (25):" in message
    assert "… and 5 more" in message
    assert len(message.splitlines()) == 1 + 2 * 22 + 1


def test_a_name_cannot_write_to_the_terminal_or_fill_it(file: Path) -> None:
    message = refused(write(file, {"\x1b[2Jx\n": np.zeros(1, np.float32), "y" * 10_000: np.zeros(1, np.float32)}))
    assert "\\x1b[2Jx\\n" in message
    assert "\x1b" not in message
    assert max(map(len, message.splitlines())) <= 300


@pytest.mark.parametrize("kind", ["I64", "U8", "BOOL", "U32"])
def test_a_type_that_cannot_be_weights_is_named(file: Path, kind: str) -> None:
    stored = dict(WEIGHTS) | {"decoder.conv_out.bias": Blob(kind, np.zeros(3))}
    message = refused(write(file, stored))
    assert f"decoder.conv_out.bias: {kind}, must be one of F64, F32, F16, BF16" in message


def test_both_layouts_in_one_file_are_refused(file: Path) -> None:
    name = "decoder.conv_in.weight"
    message = refused(write(file, WEIGHTS | {name: to_mlx_layout(WEIGHTS[name])}))
    assert "some convolutions are (O, I, H, W), others (O, H, W, I) (1):" in message
    assert "decoder.conv_in.weight: (16, 3, 3, 4) is (O, H, W, I)" in message


@pytest.mark.parametrize("mlx", [False, True])
def test_a_convolution_that_cannot_tell_follows_the_others(file: Path, mlx: bool) -> None:
    rng = np.random.default_rng(0)
    weights = {f"layer{n}.weight": rng.random((3, n, 3, 3), np.float32) for n in (3, 5)}
    stored = {name: to_mlx_layout(values) if mlx else values for name, values in weights.items()}
    for name, array in load(write(file, stored), expected_shapes(weights)).items():
        assert np.array_equal(np.array(array), to_mlx_layout(weights[name]))


def test_if_none_can_tell_they_are_pytorch(file: Path) -> None:
    values = np.random.default_rng(0).random((3, 3, 3, 3), np.float32)
    (array,) = load(write(file, {"x.weight": values}), {"x.weight": (3, 3, 3, 3)}).values()
    assert np.array_equal(np.array(array), to_mlx_layout(values))


def test_an_index_and_its_shards_must_agree(tmp_path: Path) -> None:
    index = shards(tmp_path)
    table = json.loads(index.read_text())
    first, second = list(table["weight_map"])[:2]
    table["weight_map"][first] = "m-1.safetensors"
    del table["weight_map"][second]
    index.write_text(json.dumps(table))
    message = refused(index)
    assert f"not in the file that the index names (1):\n{first} in m-1.safetensors" in message
    assert "in a file, but not in the index (2):" in message
    assert f"{first} in m-0.safetensors" in message
    assert f"{second} in m-0.safetensors" in message


def test_a_shard_that_is_a_pickle_is_refused(tmp_path: Path) -> None:
    index = shards(tmp_path)
    (tmp_path / "m-2.safetensors").write_bytes(b"PK\x03\x04")
    assert "m-2.safetensors must be a safetensors file, it is a PyTorch pickle" in refused(index)


@pytest.mark.parametrize("dtype", [mx.int8, mx.uint32, mx.complex64], ids=str)
def test_a_dtype_that_weights_cannot_have(file: Path, dtype: mx.Dtype) -> None:
    assert "dtype must be one of float32, bfloat16, float16" in refused(write(file, WEIGHTS), dtype=dtype)


def test_every_tensor_with_nan_or_inf_is_listed(file: Path) -> None:
    stored = {name: values.copy() for name, values in WEIGHTS.items()}
    stored["encoder.conv_in.weight"][1, 2, 0, 1] = np.nan
    stored["decoder.conv_out.bias"][:2] = np.inf
    message = refused(write(file, stored))
    assert "encoder.conv_in.weight: 1 values are NaN or Inf" in message
    assert "decoder.conv_out.bias: 2 values are NaN or Inf" in message
    assigned: list[str] = []
    with pytest.raises(WeightsError):
        load_weights(file, EXPECTED, mx.float32, lambda name, array: assigned.append(name))
    assert assigned == list(EXPECTED)[: list(EXPECTED).index("encoder.conv_in.weight")]


def test_values_that_float16_cannot_hold_are_refused_there_only(file: Path) -> None:
    stored = {name: values.copy() for name, values in WEIGHTS.items()}
    stored["decoder.conv_out.bias"][1] = -70000
    write(file, stored)
    message = refused(file, dtype=mx.float16)
    assert "decoder.conv_out.bias: values up to 70000 become Inf in float16" in message
    assert "bfloat16" in message
    load(file, dtype=mx.bfloat16)


def test_nothing_stays_open_after_an_error(tmp_path: Path) -> None:
    index = shards(tmp_path)
    before = open_files()
    refused(index, DECODER)
    assert open_files() == before

    def fail(name: str, array: mx.array) -> None:
        raise KeyError(name)

    with pytest.raises(KeyError):
        load_weights(index, EXPECTED, mx.float32, fail)
    assert open_files() == before
    load(index)
    assert open_files() == before


def test_a_file_written_while_it_loads_is_an_error(file: Path) -> None:
    write(file, WEIGHTS)
    with pytest.raises(WeightsError, match="written to while it was being read"):
        load_weights(file, EXPECTED, mx.float32, lambda name, array: os.utime(file, ns=(0, 1)))


def test_a_file_cut_while_it_loads_is_an_error(file: Path) -> None:
    write(file, WEIGHTS)
    with pytest.raises(WeightsError, match="cut short while it was being read"):
        load_weights(file, EXPECTED, mx.float32, lambda name, array: os.truncate(file, 100))


@pytest.mark.parametrize("mflux", [False, True])
def test_a_module_that_use_has_filled_is_not_copied_again(mflux: bool) -> None:
    """`adapters/diffusers_module.py` and `adapters/mflux_decode.py` put these attributes there."""
    held = SimpleNamespace(vae=SimpleNamespace(decode_to_file=print), state_dict=dict)
    with pytest.raises(InputError, match="the bounded VAE that use") as caught:
        VAE.from_module(SimpleNamespace(bounded=held, state_dict=dict) if mflux else held)
    assert "that use() returned" in caught.value.advice
