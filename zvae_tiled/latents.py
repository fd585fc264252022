"""Latents as people have them, made into one thing: a checked NHWC array."""

from __future__ import annotations

from typing import Any, Literal

import mlx.core as mx
import numpy as np

from zvae_tiled.arrays import to_mlx
from zvae_tiled.errors import LatentsError
from zvae_tiled.families import VAEConfig
from zvae_tiled.whole import whole

Layout = Literal["NCHW", "NHWC"]

PATCH = 2
"""FLUX packs 2×2 latent pixels into one token."""


def read_latents(
    latents: Any,
    config: VAEConfig,
    layout: Layout | None = None,
    height: int | None = None,
    width: int | None = None,
) -> mx.array:
    """Return latents as (B, h, w, C), checked, in their own floating-point type.

    Args:
        latents: (B, C, h, w), (B, h, w, C), either without B, or packed FLUX tokens (B, N, 4·C) or (N, 4·C).
        config: The VAE they are for.
        layout: Where the channels are, if the shape leaves it open.
        height: The picture's height; makes the latents packed tokens.
        width: The picture's width, likewise.

    Raises:
        LatentsError: They are not latents of this VAE, are empty, or hold NaN or Inf.
    """
    array = to_mlx(latents, "latents", LatentsError)
    if layout not in (None, "NCHW", "NHWC"):
        raise LatentsError(f"layout must be 'NCHW', 'NHWC' or None, it is {layout!r}")
    if array.size == 0:
        raise LatentsError(f"latents of shape {array.shape} are empty", "Nothing to decode: check how they were saved.")
    if height is None and width is None:
        arranged = _channels_last(array, config.latent_channels, layout)
    else:
        arranged = _unpacked(array, config, height, width, layout)
    _check_finite(array)
    mx.eval(arranged)  # here, in the caller's thread: what is lazy can be computed in the thread it was made in only
    return arranged


def _channels_last(array: mx.array, channels: int, layout: Layout | None) -> mx.array:
    shape = array.shape
    if array.ndim not in (3, 4):
        raise LatentsError(
            f"latents must have 3 or 4 axes (with or without a batch), they have {array.ndim}: {shape}",
            f"Give (B, {channels}, h, w), (B, h, w, {channels}), or packed tokens with height= and width=.",
        )
    first, last = shape[-3] == channels, shape[-1] == channels
    if layout is None and first and last:
        raise LatentsError(
            f"latents of shape {shape} could be NCHW or NHWC: both axes have {channels}",
            "Say layout='NCHW' (as diffusers hands them over) or layout='NHWC'.",
        )
    if not (first if layout == "NCHW" else last if layout == "NHWC" else first or last):
        packed = array.ndim == 3 and shape[-1] == PATCH * PATCH * channels
        where = {
            "NCHW": f"axis {array.ndim - 3}",
            "NHWC": "the last axis",
            None: "the first or last of three",
        }[layout]
        raise LatentsError(
            f"this VAE's latents have {channels} channels; none of that size at {where} of {shape}",
            "These look like packed tokens: say height= and width= of the picture."
            if packed
            else "Are these latents of another family? Compare the VAE's config.latent_channels.",
        )
    arranged = mx.moveaxis(array, -3, -1) if layout == "NCHW" or (layout is None and first) else array
    return arranged if array.ndim == 4 else arranged[None]


def _unpacked(
    tokens: mx.array, config: VAEConfig, height: int | None, width: int | None, layout: Layout | None
) -> mx.array:
    pixels = [whole(height) or 0, whole(width) or 0]
    for name, value, number in zip(("height", "width"), (height, width), pixels, strict=True):
        if number < 1:
            raise LatentsError(
                f"packed latents need height= and width= in pixels, whole and above 0; {name} is {value!r}",
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
            f"these have {tokens.shape}",
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
        "The sampling before this went wrong (often float16 overflow); decoding cannot mend it.",
    )
