"""Latents as people have them, made into one thing: a checked NHWC array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from zvae_tiled.checks import shown, whole
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import LatentsError
from zvae_tiled.families import LatentConvention, VAEConfig
from zvae_tiled.inputs.arrays import shape_text, to_mlx
from zvae_tiled.inputs.latent_space import unpacked
from zvae_tiled.planner.case import MAX_SIDE

Layout = Literal["NCHW", "NHWC"]

OVERFLOWED = (
    "The sampling overflowed float16, which ends at 65,504; decoding cannot mend it. Run the sampling, and keep the "
    'latents, in bfloat16 or float32 (of a diffusers pipeline: torch_dtype=torch.bfloat16; of a VAE: dtype="bfloat16").'
)


@dataclass(frozen=True)
class Latents:
    """Latents, and what a plain array cannot say of them.

    A plain array is taken for ``Latents(array)``: NCHW, and scaled as a pipeline hands it over.

    Attributes:
        array: (B, C, h, w), with or without B, or with one frame (B, C, 1, h, w); with layout ``NHWC`` the channels
            come last; or packed tokens (B, N, C) or (N, C). Of mx, numpy, or anything that speaks DLPack.
        layout: ``NCHW`` or ``NHWC``; None means ``NCHW``. It is never guessed from the shape.
        height: The picture's height in pixels, for packed tokens.
        width: The picture's width in pixels, for packed tokens.
        scaled: False if scale and shift are undone already, as ComfyUI saves latents.
        source: Where they come from, as errors say it.
    """

    array: Any
    layout: Layout | None = None
    height: int | None = None
    width: int | None = None
    scaled: bool = True
    source: str = "latents"


def read_latents(latents: Any, config: VAEConfig) -> mx.array:
    """Return a pipeline's map of latents as (B, h, w, C), checked, in their own floating-point type.

    Args:
        latents: `Latents`, or an array.
        config: The VAE they are for.

    Raises:
        LatentsError: They are not latents of this VAE, are empty, or hold NaN or Inf.
    """
    check_threads()
    given = latents if isinstance(latents, Latents) else Latents(latents)
    array = to_mlx(given.array, "latents", LatentsError)
    if given.layout not in (None, "NCHW", "NHWC"):
        raise LatentsError(f"layout must be 'NCHW', 'NHWC' or None, it is {given.layout!r:.40}")
    if array.size == 0:
        problem = f"latents of shape {shape_text(array.shape)} are empty"
        raise LatentsError(problem, "Nothing to decode: check how they were saved.")
    if given.height is None and given.width is None:
        arranged = _channels_last(array, config.latents, given.layout)
    else:
        arranged = _unpacked(array, config, given)
    _check_finite(array)
    mx.eval(arranged)  # here, in the caller's thread: what is lazy can be computed in the thread it was made in only
    return arranged


def picture_shape(config: VAEConfig, latents: mx.array) -> tuple[int, int, int, int]:
    """Return (B, H, W, C) of what a pipeline's map of latents (B, h, w, C) decodes to."""
    batch, height, width, _ = latents.shape
    return batch, height * config.cell, width * config.cell, config.out_channels


def _channels_last(array: mx.array, convention: LatentConvention, layout: Layout | None) -> mx.array:
    channels = convention.channels
    if array.ndim not in (3, 4, 5):
        raise LatentsError(
            f"latents must have 3, 4 or 5 axes, they have {array.ndim}: {shape_text(array.shape)}",
            f"Give (B, {channels}, h, w), or packed tokens: Latents(tokens, height=…, width=…).",
        )
    one_frame = array.ndim == 5
    in_front, last = (-4 if one_frame else -3), -1
    at, other = (last, in_front) if layout == "NHWC" else (in_front, last)
    if array.shape[at] != channels:
        raise LatentsError(
            f"this VAE's latents have {channels} channels; {layout or 'NCHW'} latents of the shape {array.shape} "
            f"have {array.shape[at]}",
            _where_channels_are(array, convention, other),
        )
    if one_frame:
        array = _without_frames(array, frames_at=-4 if layout == "NHWC" else -3)
    arranged = array if layout == "NHWC" else mx.moveaxis(array, -3, -1)
    return arranged if array.ndim == 4 else arranged[None]


def _where_channels_are(array: mx.array, convention: LatentConvention, other: int) -> str:
    """Return what to do about channels that are not where the layout puts them."""
    channels = convention.channels
    if array.ndim == 3 and array.shape[-1] == convention.token**2 * channels:
        return "These look like packed tokens: say Latents(tokens, height=…, width=…), in pixels (--height, --width)."
    another_family = "latents of another family? Compare the VAE's config.latents.channels."
    if array.shape[other] != channels:
        return f"Are these {another_family}"
    if other != -1:
        return 'The channels are in front: leave out the layout, or say "NCHW" (--layout NCHW).'
    named = 'Latents(latents, layout="NHWC") (--layout NHWC)'
    return f"Are the channels in the last axis? Say {named}. If not: are these {another_family}"


def _without_frames(array: mx.array, frames_at: int) -> mx.array:
    frames = array.shape[frames_at]
    if frames != 1:
        raise LatentsError(
            f"latents of shape {array.shape} hold {frames} frames; an image VAE decodes one picture at a time",
            "Decode frame by frame: hand over the latents of one frame, without the axis of frames.",
        )
    return array.squeeze(frames_at)


def _unpacked(tokens: mx.array, config: VAEConfig, given: Latents) -> mx.array:
    pixels = [whole(given.height) or 0, whole(given.width) or 0]
    for name, value, number in zip(("height", "width"), (given.height, given.width), pixels, strict=True):
        if not 1 <= number <= MAX_SIDE:
            raise LatentsError(
                f"packed latents need height= and width= in pixels, whole, from 1 to {MAX_SIDE:,}; "
                f"{name} is {shown(value)}",
                "Give both, of the picture. Leave both out if the latents are not packed.",
            )
    if given.layout is not None:
        raise LatentsError(
            f"packed latents have no layout; layout={given.layout!r} was given beside height= and width=",
            "Leave out the layout, or height and width if the latents are not packed.",
        )
    convention = config.latents
    cell = convention.token * config.cell
    rows, columns = (number // cell for number in pixels)
    expected = (rows * columns, convention.token**2 * convention.channels)
    if tokens.ndim not in (2, 3) or tokens.shape[-2:] != expected or 0 in expected:
        raise LatentsError(
            f"packed latents of a {pixels[1]}x{pixels[0]} picture have the shape (B, {expected[0]}, {expected[1]}), "
            f"these have {shape_text(tokens.shape)}",
            f"height= and width= are the picture's, in pixels: one token stands for {cell}x{cell} of them. "
            "Leave both out if the latents are not packed.",
        )
    # A token holds its channels first, then the row and the column inside the patch.
    return unpacked(tokens.reshape(-1, rows, columns, expected[1]), convention.token)


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
