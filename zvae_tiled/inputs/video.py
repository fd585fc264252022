"""Turns latents of a video into one form: a checked NHWC array, a frame for each picture of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx

from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import LatentsError
from zvae_tiled.families import VAEConfig
from zvae_tiled.inputs.arrays import shape_text, to_mlx
from zvae_tiled.inputs.latents import Latents, check_filled, check_finite, check_layout, read_latents


def read_video(latents: Any, config: VAEConfig) -> mx.array:
    """Check latents of one video, and return them as (frames, h, w, C), in their own floating-point type.

    Args:
        latents: `Latents`, or an array: (1, C, frames, h, w), or with layout ``NHWC`` (1, frames, h, w, C).
        config: The config of their VAE.

    Raises:
        LatentsError: They are not latents of a video, as in `read_latents`.
    """
    check_threads()
    wrapped = latents if isinstance(latents, Latents) else Latents(latents)
    array = to_mlx(wrapped.array, "latents", LatentsError)
    check_layout(wrapped.layout)
    last, channels = wrapped.layout == "NHWC", config.latents.channels
    if array.ndim != 5 or array.shape[0] != 1 or array.shape[-1 if last else 1] != channels:
        wanted = f"(1, frames, h, w, {channels})" if last else f"(1, {channels}, frames, h, w)"
        raise LatentsError(
            f"latents of a video have the shape {wanted}, these have {shape_text(array.shape)}",
            _advice(array.shape, channels, last),
        )
    check_filled(array)  # here, with the shape that the caller knows
    check_finite(array)
    frames = array[0] if last else mx.moveaxis(array[0], 1, 0)
    return read_latents(replace(wrapped, array=frames), config)


def _advice(shape: Sequence[int], channels: int, last: bool) -> str:
    """Return what to do about latents of a wrong shape, in words that fit the command line, too."""
    if len(shape) != 5 or shape[0] != 1:
        return "Pass one video at a time. Decode a picture with vae.decode."
    if shape[2] == channels:
        return "Are the frames first? Their axis comes third: numpy.swapaxes(latents, 1, 2)."
    if shape[-1] == channels and not last:
        return "Are the channels last? Their axis comes second: numpy.moveaxis(latents, -1, 1)."
    return f"Are these latents of another VAE? This one reads {channels} channels."
