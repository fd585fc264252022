"""What native kernels report to the guard: rows that are not finite, overflows, Steps whose result is rightly flat."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.cases import (
    CONV,
    NORMED,
    READS,
    RELU,
    RMS,
    wide,
)
from tests.kernels.native import CASES
from tests.kernels.native_steps import random_step, whole
from zvae_tiled.chain import Step


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("inputs", [15, 20])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_not_finite_is_told_of_its_rows(case: tuple[str, mx.Dtype], inputs: int, value: float) -> None:
    """Of a Step of few channels, and of one that is computed square by square: its squares may be told whole."""
    kernels, step, weights, x, _, _ = random_step(CONV, case, 9, 90, inputs, 35, 0, "as it is")
    whole(kernels, step, weights, x, None, None)
    low, high = kernels.extent()
    assert (np.isfinite(low) & np.isfinite(high) & (low < high)).all()
    x[0, 4, 80, 3] = value
    out = whole(kernels, step, weights, x, None, None)
    low, high = kernels.extent()
    seen = ~(np.isfinite(low) & np.isfinite(high))
    grain = kernels.grain(step)
    assert grain == (1 if inputs < 16 or kernels.workspace.small == 0 else 4)
    assert seen[3:6].all()
    assert not seen[: 3 // grain * grain].any()
    assert not seen[-(-6 // grain) * grain :].any()
    assert not np.isfinite(kernels.largest(out)).all()
    assert kernels.intact()


@pytest.mark.parametrize("inputs", [15, 20])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_extents_leave_out_lanes_beyond_the_last_output(case: tuple[str, mx.Dtype], inputs: int) -> None:
    kernels, step, weights, x, _, _ = random_step(CONV, case, 5, 9, inputs, 35, 0, "as it is")
    for sign in (1, -1):
        weights["weight"] = sign * abs(weights["weight"])
        whole(kernels, step, weights, abs(x), None, None)
        low, high = (sign * sums for sums in kernels.extent()[::sign])
        assert (low > 0).all()
        assert (low < high).all()


@pytest.mark.parametrize("case", [case for case in CASES if case[1] == mx.float16], ids=str)
def test_an_overflow_of_the_storage_type_is_told(case: tuple[str, mx.Dtype]) -> None:
    step = Step("conv", "conv", 3, 5)
    kernels, _, weights, x, _, _ = random_step(step, case, 3, 9, 3, 5, 0, "as it is")
    assert np.isfinite(kernels.largest(whole(kernels, step, weights, x, None, None))).all()
    weights["bias"], x = mx.full((5,), 65504.0).astype(mx.float16), 20 * x
    out = whole(kernels, step, weights, x, None, None)
    assert np.isfinite(kernels.extent()).all(), "it is the bias that makes it overflow"
    assert not np.isfinite(kernels.largest(out)).all()
    assert not np.isfinite(wide(out)).all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_idle_step_is_told_from_a_broken_one(case: tuple[str, mx.Dtype]) -> None:
    kernels, step, weights, x, affine, _ = random_step(NORMED, case, 5, 9, 6, 40, 0, READS[-1])
    edges = kernels.edge(step, 9)
    pieces = [*edges, *kernels.activate(step, x, affine), *edges]
    assert not kernels.idle(step, kernels.prepare(step, weights), pieces)
    flat = kernels.activate(step, mx.ones_like(x), kernels.affine(np.zeros(6), np.ones(6)))
    assert kernels.idle(step, kernels.prepare(step, weights), flat)
    weights["weight"] = mx.full(weights["weight"].shape, 0.5).astype(case[1])
    assert kernels.idle(step, kernels.prepare(step, weights), pieces)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_map_that_relu_makes_zeros_leaves_a_step_idle(case: tuple[str, mx.Dtype]) -> None:
    kernels, step, weights, x, _, _ = random_step(RELU, case, 5, 9, 6, 40, 0, READS[0])
    prepared = kernels.prepare(step, weights)
    assert not kernels.idle(step, prepared, kernels.activate(step, x, None))
    assert kernels.idle(step, prepared, kernels.activate(step, -abs(x), None))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_map_that_an_rms_norm_makes_flat_leaves_a_step_idle(case: tuple[str, mx.Dtype]) -> None:
    kernels, step, weights, x, _, _ = random_step(NORMED, case, 5, 9, 6, 40, 0, RMS)
    prepared, affine = kernels.prepare(step, weights), kernels.affine(np.ones(6), np.zeros(6))
    assert not kernels.idle(step, prepared, kernels.activate(step, x, affine))
    powers = mx.array(2.0 ** np.arange(9)).astype(case[1])  # each pixel has its own length, and the same direction
    assert kernels.idle(step, prepared, kernels.activate(step, mx.ones_like(x) * powers[:, None], affine))
