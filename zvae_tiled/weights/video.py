"""Weights of a video's decoder: a stored 3-D convolution is cut into the kernels that each frame is convolved with."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from zvae_tiled.chain import Shape, Step, earlier
from zvae_tiled.families import VAEConfig

FRAMES = 3
"""Temporal slices of a kernel: of the frame before the last, of the last, and of the frame itself."""

Weights = dict[str, mx.array]


def causal_steps(config: VAEConfig) -> dict[str, Step]:
    """Return the Steps of a video's decoder that read several frames, by name.

    Raises:
        ConfigError: This VAE decodes no videos.
    """
    return {name: step for segment in config.video() for name, (step, _) in segment.causal.items()}


def has_video(config: VAEConfig, weights: Mapping[str, mx.array]) -> bool:
    """Return whether the weights are those of a video's decoder, not of one frame's."""
    return all(f"{earlier(step)[0].name}.weight" in weights for step in causal_steps(config).values())


def stored_shapes(config: VAEConfig) -> dict[str, Shape]:
    """Return the shapes of the 3-D convolutions as they are stored, (O, T, H, W, I), and of their biases."""
    shapes: dict[str, Shape] = {}
    for name, step in causal_steps(config).items():
        stored, parts = _stored(name)
        outputs = parts * step.outputs
        shapes[f"{stored}.weight"] = (outputs, FRAMES, step.kernel, step.kernel, step.inputs)
        shapes[f"{stored}.bias"] = (outputs,)
    return shapes


def apart(name: str, array: mx.array) -> Weights:
    """Return a stored tensor as the weights of Steps, by their names."""
    stem, _, leaf = name.rpartition(".")
    halves = 2 if stem.endswith(_DOUBLES) else 1
    if array.ndim < 5 and halves == 1:
        return {name: array}
    found: Weights = {}
    outputs = array.shape[0] // halves
    for half in range(halves):
        part, own = array[half * outputs : (half + 1) * outputs], f"{stem}.{half}" if halves > 1 else stem
        if leaf == "bias":
            found[f"{own}.bias"] = mx.contiguous(part)
            continue
        for place, kernel in enumerate((f"{own}.before2", f"{own}.before1", own)):
            found[f"{kernel}.weight"] = mx.contiguous(part[:, place])
            if kernel != own:
                found[f"{kernel}.bias"] = mx.zeros(outputs, dtype=array.dtype)
    mx.eval(found)
    return found


_DOUBLES = ".time_conv"


def _stored(name: str) -> tuple[str, int]:
    """Return the name under which a Step's weights are stored, and how many Steps are stored there together."""
    stem, _, half = name.rpartition(".")
    return (stem, 2) if stem.endswith(_DOUBLES) and half.isdigit() else (name, 1)
