"""How diffusers stores the weights of Qwen-Image and Wan: 3-D convolutions, fused projections, layers in time.

Those of Qwen-Image 2.1 are 2-D convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zvae_tiled.families import Task
from zvae_tiled.families.qwen_image import QwenImageConfig
from zvae_tiled.families.qwen_image_2_1 import QwenImage21Config
from zvae_tiled.families.wan import WanConfig

Config = QwenImageConfig | QwenImage21Config | WanConfig

Tensors = dict[str, np.ndarray[Any, np.dtype[Any]]]

FRAMES = 3
"""Temporal slices of a 3×3 convolution."""

NAMES = {".group_norm.": ".norm.", ".conv_norm_out.": ".norm_out.", ".to_out.0.": ".proj."}


def with_frames(tensors: Tensors, config: Config) -> Tensors:
    """Return weights with canonical names, in PyTorch's layout, as diffusers stores them.

    The slices that one frame does not read hold other numbers.
    """
    fused = {name: values for name, values in tensors.items() if ".to_k." not in name and ".to_v." not in name}
    stored = {}
    for name, values in fused.items():
        if ".to_q." in name:
            values = np.concatenate([tensors[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")])
            name = name.replace("to_q", "to_qkv")
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        stored[name] = _shaped(name, values, frames=not isinstance(config, QwenImage21Config))
    return {**stored, **dict(_between_frames(config))}


def with_projections(tensors: Tensors) -> Tensors:
    """Return weights with canonical names as diffusers stores those of HunyuanImage: projections are convolutions."""
    stored = {}
    for name, values in tensors.items():
        short = name
        for ours, theirs in NAMES.items():
            short = short.replace(ours, theirs)
        stored[short] = values[:, :, None, None] if ".attentions." in name and values.ndim == 2 else values
    return stored


def with_matrices(tensors: Tensors) -> Tensors:
    """Return weights with canonical names as diffusers stores those of SANA: an attention's output is a linear map."""
    return {
        name.replace(".conv_norm_out.", ".norm_out."): values[:, :, 0, 0] if ".to_out." in name else values
        for name, values in tensors.items()
    }


def _shaped(name: str, values: np.ndarray, frames: bool) -> np.ndarray:
    """Return a weight in the shape of diffusers: with an axis for time, or with axes of one pixel."""
    attention = ".attentions." in name
    if name.endswith("gamma"):
        return values.reshape(-1, *(1,) * (2 if attention else 3))
    if attention and values.ndim == 2:
        return values[:, :, None, None]
    if values.ndim < 4 or ".resample." in name or not frames:
        return values
    unread = FRAMES - 1 if values.shape[-1] > 1 else 0
    return np.stack([*[-values] * unread, values], axis=2)


def _between_frames(config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """Yield weights of the convolutions in time, which one frame does not use."""
    halved = config.temperal_downsample
    tasks: tuple[tuple[Task, tuple[bool, ...], int], ...] = (("encode", halved, 1), ("decode", halved[::-1], 2))
    for task, flags, more in tasks:
        samplers = [step for step in config.chain(task).steps if step.name.endswith(".resample.1")]
        for step, flag in zip(samplers, flags, strict=True):
            if flag:
                name, width = step.name.removesuffix("resample.1") + "time_conv", step.inputs
                kernel = (1, 1) if isinstance(config, QwenImage21Config) else (FRAMES, 1, 1)
                yield f"{name}.weight", np.zeros((more * width, width, *kernel), np.float32)
                yield f"{name}.bias", np.zeros(more * width, np.float32)
