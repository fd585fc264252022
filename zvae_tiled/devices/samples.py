"""Random maps and weights, with which kernels are timed and their memory is measured."""

from __future__ import annotations

import mlx.core as mx

from zvae_tiled.chain import ATTENTION, Step
from zvae_tiled.devices.evaluated import evaluate


def random_map(shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    """Return small random numbers."""
    x = (0.1 * mx.random.normal(shape)).astype(dtype)
    evaluate(x)
    return x


def random_weights(step: Step, dtype: mx.Dtype) -> dict[str, mx.array]:
    """Return random weights and biases of a Step, or a state, by the names that kernels prepare."""
    if step.kind == "linear":
        return {"state": abs(random_map(step.state, mx.float32))}
    if step.local:
        return {name.removeprefix(f"{step.name}."): random_map(shape, dtype) for name, shape in step.shapes.items()}
    names = {"": (step.outputs, step.kernel, step.kernel, step.inputs)}
    if step.shortcut:
        names["shortcut."] = (step.outputs, 1, 1, step.skip)
    if step.kind == "attention":
        shape = (step.outputs, step.inputs)
        kernels = {f"{name}.weight": random_map(shape, dtype) for name in ATTENTION}
    else:
        kernels = {f"{name}weight": random_map(shape, dtype) for name, shape in names.items()}
    biases = {name.replace("weight", "bias"): random_map(kernels[name].shape[:1], dtype) for name in kernels}
    return kernels | biases
