"""Pictures read from files, and small ones written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zvae_tiled.errors import ImageError, ZvaeError

Picture = np.ndarray[Any, np.dtype[np.float32]]

INSTALL = "pip install 'zvae-tiled[pil]'"


NPY = "Name a .npy of floats in [0, 1] (H, W, 3) instead: it holds every bit."


def read_picture(path: str | Path) -> Picture:
    """Read a picture as (H, W, C) in [0, 1]: .npy, or whatever Pillow opens without losing bits.

    Raises:
        ImageError: The file holds no picture, or one with more bits than Pillow reads.
        MissingExtraError: Pillow is needed and not installed.
    """
    try:
        values = _array(Path(path)) if Path(path).suffix.lower() == ".npy" else _opened(Path(path))
    except (ZvaeError, MemoryError):
        raise
    except Exception as error:  # of broken files, NumPy and Pillow raise what their parsers stumble over
        problem = f"{path} cannot be read as a picture: {error}"
        raise ImageError(problem, f"Name a .png, .jpg, .webp, .tif or .npy. If it is a deep one: {NPY}") from error
    if values.ndim != 3:
        problem = f"{path} must hold (height, width, channels), its shape is {values.shape}"
        raise ImageError(problem, "Save one picture, without an axis for a batch.")
    return values


def _array(path: Path) -> Picture:
    values = np.load(path, allow_pickle=False)
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(f"{path} must hold floats in [0, 1], it holds {values.dtype}", "Divide 8-bit values by 255.")
    return np.asarray(values, np.float32)


def _opened(path: Path) -> Picture:
    from zvae_tiled.arrays import imported

    pillow, operations = imported("PIL.Image", INSTALL), imported("PIL.ImageOps", INSTALL)
    with _any_size(pillow), pillow.open(path) as image:
        mode, kind, raw = image.mode, image.format, str(image.tile)
        operations.exif_transpose(image, in_place=True)
        if mode == "F":
            return _grey(np.asarray(image, np.float32))
        if mode.startswith("I;16") or (mode == "I" and kind in SIXTEEN_BITS):
            return _grey(np.asarray(image, np.float32) / np.float32(65535))
        if mode == "I" or ";16" in raw:  # Pillow would cut them to 8 bits, and say nothing
            raise ImageError(f"{path} has more than 8 bits a channel, which Pillow cannot read", NPY)
        values: Picture = np.asarray(image.convert("RGB"), np.float32)
        values /= 255
        return values


SIXTEEN_BITS = ("PNG", "PPM")
"""What Pillow reads as 32-bit integers that are of 16 bits."""


@contextmanager
def _any_size(pillow: Any) -> Iterator[None]:
    """Let Pillow open large pictures: this command's own are far larger than what it takes for an attack."""
    before, pillow.MAX_IMAGE_PIXELS = pillow.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        pillow.MAX_IMAGE_PIXELS = before


def _grey(values: np.ndarray[Any, Any]) -> Picture:
    return np.repeat(values.astype(np.float32)[:, :, None], 3, axis=2)


def check_picture(path: Path) -> None:
    """Refuse, before any work, a file that no picture can be written to.

    Raises:
        OutputError: The place or the kind of file is not one that can be written.
    """
    from zvae_tiled.sinks import file_target

    file_target(path, (1, 1, 1, 3))


def write_picture(path: str | Path, values: np.ndarray[Any, Any]) -> None:
    """Write levels (H, W, 3), uint8, to a file of a kind that pictures are written to.

    Raises:
        OutputError: It cannot be written.
    """
    import mlx.core as mx

    from zvae_tiled.sinks import file_target

    height, width, channels = values.shape
    sink = file_target(path, (1, height, width, channels)).sink({})
    try:
        sink.write(0, mx.array(values[None]).astype(mx.float32) / 255)
        sink.close()
    except BaseException:
        sink.abort()
        raise
