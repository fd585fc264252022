"""Latents as people have them, made into one thing: a checked NHWC array."""

from __future__ import annotations

from typing import Any, Literal

import mlx.core as mx
import numpy as np

from zvae_tiled.arrays import shape_text, to_mlx
from zvae_tiled.errors import LatentsError
from zvae_tiled.families import VAEConfig
from zvae_tiled.forks import check_threads
from zvae_tiled.whole import whole

Layout = Literal["NCHW", "NHWC"]

PATCH = 2
"""FLUX packs 2×2 latent pixels into one token."""

OVERFLOWED = (
    "The sampling overflowed float16, which ends at 65,504; decoding cannot mend it. Run the sampling, and keep the "
    'latents, in bfloat16 or float32 (of a diffusers pipeline: torch_dtype=torch.bfloat16; of a VAE: dtype="bfloat16").'
)


def read_latents(
    latents: Any,
    config: VAEConfig,
    layout: Layout | None = None,
    height: int | None = None,
    width: int | None = None,
) -> mx.array:
    """Return latents as (B, h, w, C), checked, in their own floating-point type.

    Args:
        latents: (B, C, h, w) or (C, h, w); with one frame, (B, C, 1, h, w); with layout ``NHWC`` the channels come
            last; or packed FLUX tokens (B, N, 4·C) or (N, 4·C).
        config: The VAE they are for.
        layout: ``NCHW`` or ``NHWC``; None means ``NCHW``. It is never guessed from the shape.
        height: The picture's height; makes the latents packed tokens.
        width: The picture's width, likewise.

    Raises:
        LatentsError: They are not latents of this VAE, are empty, or hold NaN or Inf.
    """
    check_threads()
    array = to_mlx(latents, "latents", LatentsError)
    if layout not in (None, "NCHW", "NHWC"):
        raise LatentsError(f"layout must be 'NCHW', 'NHWC' or None, it is {layout!r:.40}")
    if array.size == 0:
        problem = f"latents of shape {shape_text(array.shape)} are empty"
        raise LatentsError(problem, "Nothing to decode: check how they were saved.")
    if height is None and width is None:
        arranged = _channels_last(array, config.latent_channels, layout)
    else:
        arranged = _unpacked(array, config, height, width, layout)
    _check_finite(array)
    mx.eval(arranged)  # here, in the caller's thread: what is lazy can be computed in the thread it was made in only
    return arranged


def _channels_last(array: mx.array, channels: int, layout: Layout | None) -> mx.array:
    if array.ndim not in (3, 4, 5):
        raise LatentsError(
            f"latents must have 3, 4 or 5 axes, they have {array.ndim}: {shape_text(array.shape)}",
            f"Give (B, {channels}, h, w), or packed tokens with height= and width=.",
        )
    one_frame = array.ndim == 5
    in_front, last = (-4 if one_frame else -3), -1
    at, other = (last, in_front) if layout == "NHWC" else (in_front, last)
    if array.shape[at] != channels:
        raise LatentsError(
            f"this VAE's latents have {channels} channels; {layout or 'NCHW'} latents of the shape {array.shape} "
            f"have {array.shape[at]}",
            _where_channels_are(array, channels, other),
        )
    if one_frame:
        array = _without_frames(array, frames_at=-4 if layout == "NHWC" else -3)
    arranged = array if layout == "NHWC" else mx.moveaxis(array, -3, -1)
    return arranged if array.ndim == 4 else arranged[None]


def _where_channels_are(array: mx.array, channels: int, other: int) -> str:
    """Return what to do about channels that are not where the layout puts them."""
    if array.ndim == 3 and array.shape[-1] == PATCH * PATCH * channels:
        return "These look like packed tokens: say height= and width= of the picture (--height, --width)."
    another_family = "latents of another family? Compare the VAE's config.latent_channels."
    if array.shape[other] != channels:
        return f"Are these {another_family}"
    if other != -1:
        return 'The channels are in front: leave out the layout, or say layout="NCHW" (--layout NCHW).'
    return f'Are the channels in the last axis? Say layout="NHWC" (--layout NHWC). If not: are these {another_family}'


def _without_frames(array: mx.array, frames_at: int) -> mx.array:
    frames = array.shape[frames_at]
    if frames != 1:
        raise LatentsError(
            f"latents of shape {array.shape} hold {frames} frames; an image VAE decodes one picture at a time",
            "Decode frame by frame: hand over the latents of one frame, without the axis of frames.",
        )
    return array.squeeze(frames_at)


def _unpacked(
    tokens: mx.array, config: VAEConfig, height: int | None, width: int | None, layout: Layout | None
) -> mx.array:
    pixels = [whole(height) or 0, whole(width) or 0]
    for name, value, number in zip(("height", "width"), (height, width), pixels, strict=True):
        if number < 1:
            raise LatentsError(
                f"packed latents need height= and width= in pixels, whole and above 0; {name} is {value!r:.40}",
                "Give both, of the picture. Leave both out if the latents are not packed.",
            )
    if layout is not None:
        raise LatentsError(
            f"packed latents have no layout; layout={layout!r} was given beside height= and width=",
            "Leave out the layout, or height and width if the latents are not packed.",
        )
    cell = PATCH * config.scale
    rows, columns = (number // cell for number in pixels)
    wanted = (rows * columns, PATCH * PATCH * config.latent_channels)
    if tokens.ndim not in (2, 3) or tokens.shape[-2:] != wanted or 0 in wanted:
        raise LatentsError(
            f"packed latents of a {pixels[1]}x{pixels[0]} picture have the shape (B, {wanted[0]}, {wanted[1]}), "
            f"these have {shape_text(tokens.shape)}",
            f"height= and width= are the picture's, in pixels: one token stands for {cell}x{cell} of them. "
            "Leave both out if the latents are not packed.",
        )
    # A token holds its channels first, then the row and the column inside the patch.
    cells = tokens.reshape(-1, rows, columns, config.latent_channels, PATCH, PATCH)
    return cells.transpose(0, 1, 4, 2, 5, 3).reshape(-1, rows * PATCH, columns * PATCH, config.latent_channels)


def _check_finite(array: mx.array) -> None:
    finite = mx.isfinite(array)
    if mx.all(finite).item():
        return
    bad = np.flatnonzero(~np.asarray(finite))
    position = tuple(int(i) for i in np.unravel_index(bad[0], array.shape))
    value = array[position].item()
    raise LatentsError(
        f"latents hold {bad.size} values that are NaN or infinite; the first is {value} at {position} of {array.shape}",
        OVERFLOWED if array.dtype == mx.float16 else "The sampling went wrong; decoding cannot mend it.",
    )
