"""TAEHV in float64, in plain NumPy, from its author's description: all frames of a video, with all of the weights.

As in `tiny64`, a number in a name is the place in the list of modules. It shares no line with the package.
"""

from __future__ import annotations

import numpy as np

from tests.support.tiny64 import Array, Weights, apply64, conv64

DECODER = f"clamp conv relu {'memory memory memory up grow conv ' * 3}relu conv"
ENCODER = f"conv relu {'pool half memory memory memory ' * 3}conv"


def decoded64(weights: Weights, latents: list[Array], packs: bool) -> list[Array]:
    """Decode the maps of a video's latents into four frames each. The first three of all are not the video's."""
    frames = _run(DECODER, "decoder", weights, latents)
    return [apply64("unpack", {}, "", frame) for frame in frames] if packs else frames


def encoded64(weights: Weights, frames: list[Array], packs: bool) -> list[Array]:
    """Encode each four frames of a video into a map of latents."""
    return _run(ENCODER, "encoder", weights, [apply64("pack", {}, "", frame) if packs else frame for frame in frames])


def _run(modules: str, half: str, weights: Weights, frames: list[Array]) -> list[Array]:
    for number, module in enumerate(modules.split()):
        name = f"{half}.{number}."
        if module == "memory":
            before = [0 * frames[0], *frames[:-1]]
            frames = [_memory(weights, name, x, past) for x, past in zip(frames, before, strict=True)]
        elif module == "grow":
            grown = [conv64(weights, f"{name}conv.", x) for x in frames]
            count = grown[0].shape[-1] // frames[0].shape[-1]
            frames = [part for x in grown for part in np.split(x, count, axis=-1)]
        elif module == "pool":
            count = weights[f"{name}conv.weight"].shape[1] // frames[0].shape[-1]
            joined = [np.concatenate(frames[first : first + count], axis=-1) for first in range(0, len(frames), count)]
            frames = [conv64(weights, f"{name}conv.", x) for x in joined]
        else:
            frames = [apply64(module, weights, name, x) for x in frames]
    return frames


def _memory(weights: Weights, name: str, x: Array, before: Array) -> Array:
    y = conv64(weights, f"{name}conv.0.", np.concatenate([x, before], axis=-1))
    y = conv64(weights, f"{name}conv.2.", np.maximum(y, 0))
    y = conv64(weights, f"{name}conv.4.", np.maximum(y, 0))
    return np.asarray(np.maximum(x + y, 0))
