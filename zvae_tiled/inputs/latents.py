"""Turns latents of any form into one: a checked NHWC array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from zvae_tiled.checks import shown, truth, whole
from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import LatentsError
from zvae_tiled.families import PRESETS, LatentConvention, VAEConfig
from zvae_tiled.inputs.arrays import kind_of, shape_text, to_mlx
from zvae_tiled.inputs.latent_space import packed, unpacked
from zvae_tiled.planner.case import MAX_SIDE
from zvae_tiled.wording import listed

Layout = Literal["NCHW", "NHWC"]

OVERFLOWED = (
    "The sampling overflowed float16, whose largest value is 65,504. Decoding cannot repair it. Run the sampling, and "
    "keep the latents, in bfloat16 or float32 (in a diffusers pipeline: torch_dtype=torch.bfloat16; in VAE.load: "
    'dtype="bfloat16").'
)


@dataclass(frozen=True)
class Latents:
    """Latents, with the facts that a plain array does not have.

    A plain array is read as ``Latents(array)``: NCHW, and scaled as in a pipeline.

    Attributes:
        array: (B, C, h, w) or (C, h, w), or with one frame (B, C, 1, h, w). With layout ``NHWC`` the channels come
            last. Or packed tokens (B, N, C) or (N, C). An array of mx, numpy, or any library with DLPack.
        layout: ``NCHW`` or ``NHWC``; None means ``NCHW``. It is never guessed from the shape.
        height: The picture's height in pixels, for packed tokens.
        width: The picture's width in pixels, for packed tokens.
        scaled: False if scale and shift are undone already, as in ComfyUI's files.
        source: The name of the latents in error messages.
        texts: Texts by name, such as ``prompt`` and ``workflow``, that a picture's file is given too.
    """

    array: Any
    layout: Layout | None = None
    height: int | None = None
    width: int | None = None
    scaled: bool = True
    source: str = "latents"
    texts: Mapping[str, str] = field(default_factory=dict)


def read_latents(latents: Any, config: VAEConfig) -> mx.array:
    """Check latents and return them as (B, h, w, C), as the pipeline has them, in their own floating-point type.

    Args:
        latents: `Latents`, or an array.
        config: The config of their VAE.

    Raises:
        LatentsError: They are not latents of this VAE, are empty, or hold NaN or Inf.
    """
    check_threads()
    wrapped = latents if isinstance(latents, Latents) else Latents(latents)
    array = to_mlx(wrapped.array, "latents", LatentsError)
    check_layout(wrapped.layout)
    if not truth("scaled", wrapped.scaled) and config.latents.only_scaled:
        raise LatentsError(
            f"an {config.class_name} reads latents as a pipeline has them, these are not",
            "Scale them as the VAE that they are of: (latents - shift_factor) * scaling_factor.",
        )
    check_filled(array)
    if wrapped.height is None and wrapped.width is None:
        channels_last = _packed(_channels_last(array, config.latents, wrapped.layout), config)
    else:
        channels_last = _unpacked(array, config, wrapped)
    check_finite(array)
    mx.eval(channels_last)  # in the caller's thread: MLX computes a lazy array only in the thread that made it
    return channels_last


def check_order(latents: Any, path: Any) -> None:
    """Refuse latents and the path of their picture in the wrong order.

    Raises:
        LatentsError: The latents are a path, and the path is an array.
    """
    if isinstance(latents, str | PathLike) and (isinstance(path, Latents) or kind_of(path) is not None):
        name = shown(str(latents))
        raise LatentsError(
            f"latents and path are swapped: latents is {name}", f"Latents come first: (latents, {name})."
        )


def picture_shape(config: VAEConfig, latents: mx.array) -> tuple[int, int, int, int]:
    """Return the shape (B, H, W, C) of the pictures that a pipeline's latents (B, h, w, C) decode to."""
    batch, height, width, _ = latents.shape
    return batch, height * config.cell, width * config.cell, config.picture_channels


def _packed(latents: mx.array, config: VAEConfig) -> mx.array:
    """Return the packed map of latents (B, h, w, C), which a pipeline may return unpacked."""
    convention, (height, width) = config.latents, latents.shape[1:3]
    if not convention.spread:
        return latents
    if height % convention.patch or width % convention.patch:
        raise LatentsError(
            f"height and width of these latents must be multiples of {convention.patch}, they are {height} and {width}",
            f"The picture's sides are multiples of {config.cell} pixels.",
        )
    return packed(latents, convention.patch, convention.order)


def _channels_last(array: mx.array, convention: LatentConvention, layout: Layout | None) -> mx.array:
    channels = convention.returned[0]
    if array.ndim not in (3, 4, 5):
        raise LatentsError(
            f"latents must have 3, 4 or 5 axes, they have {array.ndim}: {shape_text(array.shape)}",
            f"Pass (B, {channels}, h, w), or packed tokens: Latents(tokens, height=…, width=…).",
        )
    one_frame = array.ndim == 5
    in_front, last = (-4 if one_frame else -3), -1
    at, other = (last, in_front) if layout == "NHWC" else (in_front, last)
    if array.shape[at] != channels:
        raise LatentsError(
            f"this VAE's latents have {channels} channels; {layout or 'NCHW'} latents of the shape {array.shape} "
            f"have {array.shape[at]}",
            _where_channels_are(array, convention, at, other),
        )
    if one_frame:
        array = _without_frames(array, frames_at=-4 if layout == "NHWC" else -3)
    channels_last = array if layout == "NHWC" else mx.moveaxis(array, -3, -1)
    return channels_last if array.ndim == 4 else channels_last[None]


def _where_channels_are(array: mx.array, convention: LatentConvention, at: int, other: int) -> str:
    """Return advice for latents whose channels are not in the axis of the layout."""
    channels = convention.returned[0]
    if array.ndim == 3 and array.shape[-1] == convention.token**2 * convention.channels:
        return "These look like packed tokens: pass Latents(tokens, height=…, width=…), in pixels."
    if convention.spread:
        packed_map = f"(B, {convention.channels}, h, w)"
        return f"This VAE's pipeline returns (B, {channels}, h, w), not packed; a packed map {packed_map} is FLUX.2's."
    if array.shape[other] != channels:
        return _other_families(array.shape[at])
    if other != -1:
        return 'The channels come first: leave out the layout, or set it to "NCHW".'
    asked = 'Are the channels in the last axis? Pass Latents(latents, layout="NHWC").'
    return f"{asked} If not: {_other_families(array.shape[at])}"


def _other_families(channels: int) -> str:
    """Return advice for latents with another number of channels: the presets whose latents have it."""
    names = [name for name, config in PRESETS.items() if config.latents.returned[0] == channels]
    theirs = f"The presets for {channels} channels are {listed(names)}." if names else "No preset has so many channels."
    return f"Are these latents of another family? {theirs}"


def _without_frames(array: mx.array, frames_at: int) -> mx.array:
    frames = array.shape[frames_at]
    if frames != 1:
        raise LatentsError(
            f"latents of shape {array.shape} hold {frames} frames; an image VAE decodes one picture at a time",
            "Decode frame by frame: pass the latents of one frame, without the axis of frames. A video of Wan 2.1 or "
            "Qwen-Image is decoded with vae.video.",
        )
    return array.squeeze(frames_at)


def _unpacked(tokens: mx.array, config: VAEConfig, latents: Latents) -> mx.array:
    pixels = [whole(latents.height) or 0, whole(latents.width) or 0]
    for name, value, number in zip(("height", "width"), (latents.height, latents.width), pixels, strict=True):
        if not 1 <= number <= MAX_SIDE:
            raise LatentsError(
                f"packed latents need both height= and width= of the picture, in whole pixels, from 1 to {MAX_SIDE:,}; "
                f"{name} is {'not set' if value is None else shown(value)}",
                "Set both. Leave both out if the latents are not packed.",
            )
    if latents.layout is not None:
        raise LatentsError(
            f"packed latents have no layout, but layout={latents.layout!r} is set beside height= and width=",
            "Leave out the layout, or leave out height and width if the latents are not packed.",
        )
    convention = config.latents
    cell = convention.token * config.cell
    rows, columns = (number // cell for number in pixels)
    expected = (rows * columns, convention.token**2 * convention.channels)
    if tokens.ndim not in (2, 3) or tokens.shape[-2:] != expected or 0 in expected:
        raise LatentsError(
            f"packed latents of a {pixels[1]}x{pixels[0]} picture have the shape (B, {expected[0]}, {expected[1]}), "
            f"these have {shape_text(tokens.shape)}",
            f"height= and width= are the picture's, in pixels: one token covers {cell}x{cell} pixels. "
            "Leave both out if the latents are not packed.",
        )
    # The order inside a token: channel, then row of the patch, then column of the patch.
    return unpacked(tokens.reshape(-1, rows, columns, expected[1]), convention.token)


def check_layout(layout: Any) -> None:
    """Refuse a layout that there is not."""
    if layout is not None and not (isinstance(layout, str) and layout in ("NCHW", "NHWC")):
        raise LatentsError(f"layout must be 'NCHW', 'NHWC' or None, it is {shown(layout)}")


def check_filled(array: mx.array) -> None:
    """Refuse latents without values."""
    if array.size == 0:
        problem = f"latents of shape {shape_text(array.shape)} are empty"
        raise LatentsError(problem, "There is nothing to decode. Check how they were saved.")


def check_finite(array: mx.array) -> None:
    """Refuse latents that hold NaN or infinity."""
    if mx.isfinite(mx.sum(array)).item():  # one that is not finite makes the sum so; a map of them takes memory
        return
    bad = np.flatnonzero(~np.asarray(mx.isfinite(array)))
    if not bad.size:  # only the sum was too large
        return
    position = tuple(int(i) for i in np.unravel_index(bad[0], array.shape))
    value = array[position].item()
    raise LatentsError(
        f"latents hold {bad.size} values that are NaN or infinite; the first is {value} at {position} of {array.shape}",
        OVERFLOWED if array.dtype == mx.float16 else "The sampling went wrong. Decoding cannot repair it.",
    )
