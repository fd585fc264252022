"""Conversions are those of MLX, bit for bit, and their results are finite."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvae_tiled.weights.values import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    SOURCES,
    TARGETS,
    Array,
    Tally,
    Target,
    to_mlx,
)

BFLOAT16_LIMIT = np.float32((2 - 2**-8) * 2.0**127)


def convert(values: Array, source: str, target: Target) -> tuple[mx.array, str | None]:
    out = np.empty(values.shape, target.storage)
    tally = Tally(target)
    tally.convert(values, source, out)
    return to_mlx(out, target), tally.problem()


def raw(source: str, count: int, seed: int) -> Array:
    return (
        np.random.default_rng(seed).integers(0, 256, count * SOURCES[source].itemsize, np.uint8).view(SOURCES[source])
    )


def as_mlx(values: Array, source: str) -> mx.array:
    return mx.array(values).view(mx.bfloat16) if source == "BF16" else mx.array(values)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("source", ["F32", "F16", "BF16"])
@given(seed=st.integers(0, 2**32))
def test_any_bits_convert_as_in_mlx(source: str, target: Target, seed: int) -> None:
    values = raw(source, 512, seed)
    wide = as_mlx(values, source).astype(mx.float32)
    # Subnormal numbers are excluded: whether MLX's own conversion keeps them depends on the device.
    keep = np.array((mx.abs(wide) < target.limit) & (mx.abs(wide) >= 2.0**-14))
    got, problem = convert(values[keep], source, target)
    assert problem is None
    assert got.dtype == target.dtype
    assert mx.array_equal(got, wide[mx.array(np.flatnonzero(keep))].astype(target.dtype)).item()


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (1.0 + 2**-8, 0x3F80),
        (1.0 + 2**-8 + 2**-23, 0x3F81),
        (1.0 + 3 * 2**-8, 0x3F82),
        (-0.0, 0x8000),
        (2**-130, 0x0008),
        (2.0 - 2**-23, 0x4000),
    ],
)
def test_bfloat16_rounds_to_nearest_and_ties_to_even(value: float, bits: int) -> None:
    out = np.empty(1, np.uint16)
    Tally(BFLOAT16).convert(np.array([value], np.float32), "F32", out)
    assert out[0] == bits


@pytest.mark.parametrize(
    ("target", "largest", "beyond"),
    [
        (FLOAT16, 65519.996, 65520.0),
        (BFLOAT16, np.nextafter(BFLOAT16_LIMIT, np.float32(0)), BFLOAT16_LIMIT),
    ],
    ids=["float16", "bfloat16"],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_limit_is_where_the_type_becomes_infinite(target: Target, largest: float, beyond: float, sign: int) -> None:
    got, problem = convert(np.array([0, sign * largest], np.float32), "F32", target)
    assert problem is None
    assert mx.all(mx.isfinite(got)).item()
    got, problem = convert(np.array([0, sign * beyond], np.float32), "F32", target)
    assert problem is not None
    assert f"become Inf in {target.name}" in problem
    assert not mx.all(mx.isfinite(got)).item()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_float64_beyond_float32(target: Target) -> None:
    _, problem = convert(np.array([1e39]), "F64", target)
    assert problem == f"values up to 1e+39 become Inf in {target.name}"
    got, problem = convert(np.array([1 / 3]), "F64", FLOAT32)
    assert problem is None
    assert got.item() == np.float32(1 / 3)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("F64", [np.nan, np.inf]),
        ("F32", [np.nan, -np.inf]),
        ("F16", [np.nan, np.inf]),
        ("BF16", [0x7FC0, 0xFF80]),
    ],
)
def test_what_is_not_finite_is_counted(target: Target, source: str, bad: list[float]) -> None:
    _, problem = convert(np.array([0, *bad], SOURCES[source]), source, target)
    assert problem == "2 values are NaN or Inf"


def test_signalling_nan_is_counted() -> None:
    assert convert(np.array([0x7F800001], np.uint32).view(np.float32), "F32", BFLOAT16)[1] == "1 values are NaN or Inf"
    assert convert(np.array([0x7F81], np.uint16), "BF16", FLOAT16)[1] == "1 values are NaN or Inf"


def test_pieces_add_up() -> None:
    tally, out = Tally(FLOAT16), np.empty(1, np.float16)
    for value in (1.0, np.nan, 1e6, np.inf):
        tally.convert(np.array([value], np.float32), "F32", out)
    assert tally.problem() == "2 values are NaN or Inf"
