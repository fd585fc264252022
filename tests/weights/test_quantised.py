"""Weights that MLX quantised arrive as ordinary weights of the requested type."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.checkpoints import Array, Blob, Shape, write
from zvae_tiled.weights.quantised import BITS, GROUP_SIZES, Packing, infer_packing

from .loading import load, refused

Q = "decoder.mid_block.attentions.0.to_q"


def quantise(values: Array, name: str, bits: int, group_size: int, kind: mx.Dtype = mx.float32) -> dict[str, Blob]:
    packed, scales, biases = mx.quantize(mx.array(values).astype(kind), group_size=group_size, bits=bits)
    source = "BF16" if kind == mx.bfloat16 else "F32"
    stored = {"scales": scales, "biases": biases}
    if kind == mx.bfloat16:
        stored = {leaf: array.view(mx.uint16) for leaf, array in stored.items()}
    return {f"{name}.weight": Blob("U32", np.array(packed))} | {
        f"{name}.{leaf}": Blob(source, np.array(array)) for leaf, array in stored.items()
    }


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16], ids=str)
@pytest.mark.parametrize("group_size", GROUP_SIZES)
@pytest.mark.parametrize("bits", BITS)
def test_quantised_weights_arrive_in_the_type_asked_for(
    file: Path, bits: int, group_size: int, dtype: mx.Dtype
) -> None:
    values = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    blobs = quantise(values, Q, bits, group_size)
    packed, scales, biases = (mx.array(blob.values) for blob in blobs.values())
    want = mx.dequantize(packed, scales, biases, group_size=group_size, bits=bits).astype(dtype)
    got = load(write(file, blobs), {f"{Q}.weight": (8, 256)}, dtype)[f"{Q}.weight"]
    assert mx.array_equal(got, want).item()
    step = np.ptp(values.reshape(8, -1, group_size), axis=-1).max() / (2**bits - 1)
    assert np.abs(np.array(got.astype(mx.float32)) - values).max() < step


def test_a_snapshot_with_original_names_bfloat16_scales_and_mlx_convolutions(file: Path) -> None:
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    conv = np.random.default_rng(1).standard_normal((64, 3, 3, 4)).astype(np.float32)
    blobs = quantise(values, "decoder.mid.attn_1.q", 8, 32, mx.bfloat16)
    stored = {**blobs, "decoder.mid.attn_1.q.bias": values[0], "decoder.conv_in.conv2d.weight": conv}
    shapes = {f"{Q}.weight": (64, 64), f"{Q}.bias": (64,), "decoder.conv_in.weight": conv.shape}
    loaded = load(write(file, stored), shapes, mx.bfloat16)
    assert np.abs(np.array(loaded[f"{Q}.weight"].astype(mx.float32)) - values).max() < 0.05
    assert mx.array_equal(loaded["decoder.conv_in.weight"], mx.array(conv).astype(mx.bfloat16)).item()


@given(bits=st.sampled_from(BITS), group_size=st.sampled_from(GROUP_SIZES), groups=st.integers(1, 8))
def test_packing_is_inferred_from_any_shapes(bits: int, group_size: int, groups: int) -> None:
    width = group_size * groups
    packed, scales = (4, width * bits // 32), (4, groups)
    assert infer_packing(packed, scales, scales, width) == Packing(bits, group_size)


@pytest.mark.parametrize(
    ("packed", "scales", "biases", "width", "reason"),
    [
        ((8, 32), (8, 4), (8, 2), 256, "differ in shape"),
        ((8, 32), (4, 4), (4, 4), 256, "do not belong"),
        ((8, 32), (8, 2, 2), (8, 2, 2), 256, "do not belong"),
        ((32,), (4,), (4,), 256, "do not belong"),
        ((8, 32), (8, 4), (8, 4), 255, "do not unpack"),
        ((8, 7 * 8), (8, 4), (8, 4), 256, "do not unpack"),
        ((8, 32), (8, 4), (8, 4), 0, "do not unpack"),
        ((8, 32), (8, 16), (8, 16), 256, "do not split"),
        ((8, 32), (8, 3), (8, 3), 256, "do not split"),
        ((8, 32), (8, 0), (8, 0), 256, "do not split"),
    ],
)
def test_packing_that_does_not_add_up(packed: Shape, scales: Shape, biases: Shape, width: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        infer_packing(packed, scales, biases, width)


def test_quantised_faults_are_listed(file: Path) -> None:
    values = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    blobs: dict[str, Blob] = {}
    for letter in "abcde":
        blobs |= quantise(values, letter, 4, 64)
    del blobs["a.biases"]
    blobs["b.scales"] = Blob("F32", blobs["b.scales"].values[:, :3])
    blobs["c.scales"] = Blob("U8", np.zeros((8, 4)))
    blobs["d.weight"] = Blob("F32", values)
    shapes = {f"{letter}.weight": (8, 256) for letter in "abcd"} | {"e.weight": (9, 256)}
    message = refused(write(file, blobs), shapes)
    assert "quantised, but with shapes that do not fit together (2):" in message
    assert "a.weight: U32, but its scales or biases are missing" in message
    assert "b.weight: scales (8, 3) and biases (8, 4) differ in shape" in message
    assert "of a type that cannot be weights (1):" in message
    assert "c.scales: U8" in message
    assert "mis-shaped (1):" in message
    assert "e.weight: (8, 256) stored, (9, 256) expected" in message
    assert "not part of this VAE (2):" in message
    assert "d.scales" in message
    assert "d.biases" in message


def test_quantised_values_that_cannot_be_are_refused(file: Path) -> None:
    values = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32) * 1e5
    blobs = quantise(values, Q, 8, 64)
    message = refused(write(file, blobs), {f"{Q}.weight": (8, 256)}, mx.float16)
    assert f"{Q}.weight: values up to" in message
    blobs[f"{Q}.scales"].values[0, 0] = np.nan
    message = refused(write(file, blobs), {f"{Q}.weight": (8, 256)}, mx.bfloat16)
    assert f"{Q}.scales: 1 values are NaN or Inf" in message
