"""Random Steps run whole by native kernels, and their results in float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from hypothesis import strategies as st

from tests.kernels.cases import (
    EPS,
    Array,
    convolve64,
    normal64,
    random,
    random_affine,
    reading,
    sized,
    weights_of,
    wide,
)
from tests.kernels.native import CASES, kernels_of
from zvae_tiled.chain import Step
from zvae_tiled.devices.kernels import Affine
from zvae_tiled.devices.native_cpu.kernels import NativeKernels

cases = st.sampled_from(CASES)
rows, widths = st.integers(1, 6), st.sampled_from([1, 2, 3, 5, 13, 14, 15, 31, 33, 69, 71, 150])
channels = st.sampled_from([1, 3, 7, 8, 16, 17, 31, 32, 33, 65, 130])
many_channels = st.sampled_from([32, 33, 48, 64, 96, 144, 160])
"""Channels of Steps that are computed square by square: whole blocks of outputs, parts of one, and cut vectors."""
both = st.tuples(channels, channels) | st.tuples(many_channels, many_channels)
"""Inputs and outputs."""
seeds = st.integers(0, 1 << 32)


def activated64(step: Step, x: Array, affine: Affine | None) -> Array:
    """Normalised and activated in float64."""
    normal = x if affine is None else normal64(step, x, affine)
    if step.activation == "relu":
        return np.asarray(np.maximum(normal, 0))
    return np.asarray(normal / (1 + np.exp(-normal))) if step.activation == "silu" else normal


def step64(
    step: Step, weights: dict[str, mx.array], x: mx.array, affine: Affine | None, skip: mx.array | None, unit: float
) -> tuple[Array, Array]:
    """Return a Step's result for a whole map, and the largest error that rounding allows.

    Args:
        step: The Step.
        weights: Its weights.
        x: The map.
        affine: Its norm.
        skip: The skip.
        unit: Largest relative error of the multiplied values.
    """
    w = {name: wide(array) for name, array in weights.items()}
    a = activated64(step, wide(x)[0], affine)
    if step.upsample:
        a = a.repeat(2, axis=0).repeat(2, axis=1)
    a = np.pad(a, (step.zeros, (0, 0), (0, 0)))
    y, size = (
        convolve64(values, weight, step.stride, step.zeros.before)
        for values, weight in ((a, w["weight"]), (abs(a), abs(w["weight"])))
    )
    total = y + w["bias"]
    if skip is not None:
        aside = wide(skip)[0]
        if step.closes is not None and step.closes.relu:
            aside = np.maximum(aside, 0)
        if step.shortcut:
            size = size + convolve64(abs(aside), abs(w["shortcut.weight"]))
            aside = convolve64(aside, w["shortcut.weight"]) + w["shortcut.bias"]
        total = total + aside
    sums = 2.0**-23 * (9 * step.inputs + step.skip + 8)
    return total, (sums + unit) * (size + abs(w["bias"]) + 1) + EPS[x.dtype] * abs(total)


def whole(
    kernels: NativeKernels,
    step: Step,
    weights: dict[str, mx.array],
    x: mx.array,
    affine: Affine | None,
    skip: mx.array | None,
) -> np.ndarray:
    above, below = (kernels.edge(step, x.shape[2]) * rows for rows in step.zeros)
    pieces = [*above, *kernels.activate(step, x, affine), *below]
    aside = None if skip is None else kernels.beside([(skip, 0, skip.shape[1])])
    return kernels.conv(step, kernels.prepare(step, weights), pieces, aside)


def random_step(
    step: Step,
    case: tuple[str, mx.Dtype],
    height: int,
    width: int,
    inputs: int,
    outputs: int,
    seed: int,
    through: str,
    threads: int = 2,
) -> tuple[NativeKernels, Step, dict[str, mx.array], mx.array, Affine | None, mx.array | None]:
    """A Step of these sizes with everything it reads."""
    rng = np.random.default_rng(seed)
    (path, dtype), step = case, reading(sized(step, inputs, outputs), through)
    kernels, weights = kernels_of(path, dtype, threads), weights_of(step, dtype, rng)
    x = random((1, height * step.stride, width * step.stride, inputs), dtype, rng)
    affine = random_affine(step, kernels, rng)
    skip = random((1, height, width, step.skip), dtype, rng) if step.closes else None
    return kernels, step, weights, x, affine, skip
