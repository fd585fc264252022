"""Steps, random numbers for them, and their results in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import ATTENTION, DOUBLE, HALVE, Norm, Padding, Skip, Step
from zvae_tiled.chain.step import Activation
from zvae_tiled.devices.kernels import Affine, Kernels

Array = np.ndarray
EPS = {mx.float32: 2.0**-23, mx.bfloat16: 2.0**-8, mx.float16: 2.0**-11}

NORM = Norm("norm", groups=1)
CONV = Step("conv", "conv", 5, 7)
UP = Step("up", "conv", 5, 7, resample=DOUBLE)
NORMED = Step("conv", "conv", 5, 7, norm=NORM, activation="silu")
SKIP = replace(NORMED, name="skip", closes=Skip(7))
SHORTCUT = replace(SKIP, name="shortcut", closes=Skip(4, "conv_shortcut"))
PROJECTION = Step("post_quant_conv", "conv", 5, 7, kernel=1)
DOWN = Step("down", "conv", 5, 7, resample=HALVE, padding=Padding(0, 1))
RELU = Step("relu", "conv", 5, 7, activation="relu", bias=False)
RELU_SKIP = replace(RELU, name="relu skip", closes=Skip(7, relu=True))
WHOLE_DOWN = replace(RELU, name="relu down", resample=HALVE, padding=Padding(1, 1))
STEPS = (CONV, UP, SKIP, SHORTCUT, PROJECTION, DOWN)
RELUS = (RELU, RELU_SKIP, WHOLE_DOWN, replace(RELU, name="relu up", resample=DOUBLE))
READS = ("as it is", "norm", "norm and ReLU", "norm and SiLU")
RMS = "RMS norm and SiLU"
PIXELS = Norm("norm", 1, 1e-12, "rms")
"""How a Step may read its map."""


def random(shape: tuple[int, ...], dtype: mx.Dtype, rng: np.random.Generator, offset: float = 0.0) -> mx.array:
    x = mx.array((offset + rng.standard_normal(shape)).astype(np.float32)).astype(dtype)
    mx.eval(x)
    return x


def wide(x: mx.array | Array) -> Array:
    """The same numbers in float64. In NumPy's arrays, whole numbers are bfloat16's bits."""
    if isinstance(x, np.ndarray):
        x = mx.array(x).view(mx.bfloat16) if x.dtype == np.uint16 else mx.array(x)
    return np.asarray(x.astype(mx.float32)).astype(np.float64)


def weights_of(step: Step, dtype: mx.Dtype, rng: np.random.Generator) -> dict[str, mx.array]:
    shapes: dict[str, tuple[int, ...]] = {"weight": (step.outputs, step.kernel, step.kernel, step.inputs)}
    if step.shortcut:
        shapes["shortcut.weight"] = (step.outputs, 1, 1, step.skip)
    if step.kind == "attention":
        shapes = {f"{n}.weight": (step.outputs, step.inputs) for n in ATTENTION}
    shapes |= {name.replace("weight", "bias"): shape[:1] for name, shape in shapes.items()}
    return {name: random(shape, dtype, rng) for name, shape in shapes.items()}


def convolve64(x: Array, weight: Array, stride: int = 1, before: int | None = None) -> Array:
    """Convolve one picture's rows, padded left and right; with stride 2 on the right alone, or as `before` says."""
    reach = weight.shape[1] // 2
    before = (reach if stride == 1 else 0) if before is None else before
    x = np.pad(x, ((0, 0), (before, reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[1:3], axis=(0, 1))
    y: Array = np.einsum("hwcij,oijc->hwo", windows[::stride, ::stride], weight)
    return y


def conv64(step: Step, weights: dict[str, mx.array], x: mx.array, skip: mx.array | None) -> tuple[Array, Array]:
    """Return a Step's result, and the largest error that rounding of its products and values allows."""
    w = {name: wide(array) for name, array in weights.items()}
    y = convolve64(wide(x)[0], w["weight"], step.stride)
    size = convolve64(abs(wide(x)[0]), abs(w["weight"]), step.stride)
    rounded = abs(y)
    total = y + w["bias"]
    if skip is not None:
        aside = wide(skip)[0]
        if step.shortcut:
            size = size + convolve64(abs(aside), abs(w["shortcut.weight"])) + abs(w["shortcut.bias"])
            aside = convolve64(aside, w["shortcut.weight"])
            total = total + w["shortcut.bias"]
        rounded, total = rounded + abs(aside), total + aside
    eps = EPS[x.dtype]
    slack = 2.0**-23 * (9 * step.inputs + step.skip + 4) * (size + abs(w["bias"]))
    return total, slack + eps * (rounded + abs(total)) + 1e-7


def reading(step: Step, through: str) -> Step:
    """A Step that reads its map through one of `READS`; one that has ReLU already stays as it is."""
    if step.activation == "relu":
        return step
    norm = None if through == "as it is" else PIXELS if through == RMS else NORM
    activation: Activation = "silu" if through.endswith("SiLU") else "relu" if through.endswith("ReLU") else "none"
    return replace(step, norm=norm, activation=activation)


def normal64(step: Step, x: Array, affine: Affine) -> Array:
    """A map normalised in float64."""
    scale, shift, mean = map(wide, affine)
    if step.rms is not None:
        x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), step.rms)
    return np.asarray((x - mean) * scale + shift)


def random_affine(step: Step, kernels: Kernels[Any], rng: np.random.Generator) -> Affine | None:
    """A random folded norm of a Step: an RMS norm has a scale alone."""
    numbers = rng.standard_normal((3, step.inputs))
    if step.norm is None:
        return None
    return kernels.affine(*numbers) if step.rms is None else kernels.affine(numbers[0], np.zeros(step.inputs))


def sized(step: Step, inputs: int, outputs: int, skip: int = 4) -> Step:
    """The Step with other channels; the skip has `skip` channels where a shortcut widens it."""
    closes = step.closes and replace(step.closes, channels=skip if step.shortcut else outputs)
    return replace(step, inputs=inputs, outputs=outputs, closes=closes)
