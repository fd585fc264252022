"""Checks pictures for the encoder."""

from __future__ import annotations

from math import isfinite
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.devices.forks import check_threads
from zvae_tiled.errors import ImageError
from zvae_tiled.families import VAEConfig
from zvae_tiled.inputs.arrays import to_mlx


def read_images(images: Any, config: VAEConfig, raw: bool = False) -> mx.array:
    """Return pictures as (B, H, W, C): floats in [0, 1], or uint8.

    Args:
        images: (B, H, W, C) or (H, W, C), floats or uint8; or a PIL image.
        config: The config of the VAE.
        raw: Whether they are floats as the encoder reads them, about [-1, 1].

    Raises:
        ImageError: They have another shape, or values outside [0, 1]; if `raw`, values that are not finite.
    """
    check_threads()
    if isinstance(getattr(images, "mode", None), str) and isinstance(getattr(images, "size", None), tuple):
        images = _of_pillow(images, config)
    pictures = to_mlx(images, "images", ImageError, {} if raw else {"uint8": mx.uint8})
    if pictures.ndim == 3:
        pictures = pictures[None]
    mx.eval(pictures)  # in the caller's thread: MLX computes a lazy array only in the thread that made it
    channels = config.image_channels
    if pictures.ndim != 4 or pictures.shape[-1] != channels or pictures.size == 0:
        raise ImageError(
            f"images must be (B, H, W, {channels}) or (H, W, {channels}), not {pictures.shape}",
            'Convert a PIL image with image.convert("RGB").' if channels == 3 else "",
        )
    height, width = pictures.shape[1:3]
    check_sides(height, width, config)
    if pictures.dtype == mx.uint8:
        return pictures
    low, high = (float(bound(pictures).item()) for bound in (mx.min, mx.max))  # type: ignore[arg-type]
    if raw and not (isfinite(low) and isfinite(high)):
        raise ImageError("images hold values that are NaN or infinite", "What made them went wrong.")
    if not raw and not (low >= 0 and high <= 1):  # NaN compares false with everything, so it is refused here too
        problem = f"images must have values in [0, 1], these go from {low} to {high}"
        raise ImageError(problem, "Divide 8-bit values by 255, or pass them as uint8.")
    return pictures


def _of_pillow(image: Any, config: VAEConfig) -> np.ndarray:
    """Return a PIL image's pixels. One of other colours, or of sides that cannot be encoded, is refused before."""
    wanted = "RGBA" if config.image_channels == 4 else "RGB"  # others may have as many channels
    if image.mode != wanted:
        problem = f"images must be {wanted}, this PIL image is {image.mode:.10}"
        raise ImageError(problem, f'Use image.convert("{wanted}").')
    width, height = image.size
    check_sides(height, width, config)
    try:
        return np.asarray(image)
    except MemoryError:
        raise
    except Exception as error:  # for a broken file, Pillow raises errors of many types
        raise ImageError(f"the PIL image cannot be read: {error}", "Open another one.") from error


def check_sides(height: int, width: int, config: VAEConfig) -> None:
    """Refuse a picture that has no latents.

    Raises:
        ImageError: A side is no multiple of ``config.cell``, or shorter than that.
    """
    if height < config.cell or width < config.cell:
        raise ImageError(
            f"height and width must be at least {config.cell}, they are {height} and {width}", "Pad the picture first."
        )
    if height % config.cell or width % config.cell:
        raise ImageError(
            f"height and width must be multiples of {config.cell}, they are {height} and {width}",
            "Crop or pad the picture first.",
        )
