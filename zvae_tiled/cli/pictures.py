"""Pictures read from files, and small ones written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from zvae_tiled.errors import ImageError

Picture = np.ndarray[Any, np.dtype[np.float32]]

INSTALL = "pip install 'zvae-tiled[pil]'"


def read_picture(path: str | Path) -> Picture:
    """Read a picture as (H, W, C) in [0, 1]: .npy, or whatever Pillow opens.

    Raises:
        ImageError: The file holds no picture.
        MissingExtraError: Pillow is needed and not installed.
    """
    try:
        values = _array(Path(path)) if Path(path).suffix.lower() == ".npy" else _opened(Path(path))
    except (OSError, ValueError, SyntaxError) as error:  # what NumPy and Pillow raise for broken files
        raise ImageError(
            f"{path} cannot be read as a picture: {error}", "Name a .png, .jpg, .webp, .tif or .npy."
        ) from error
    if values.ndim != 3:
        raise ImageError(f"{path} must hold (height, width, channels), its shape is {values.shape}")
    return values


def _array(path: Path) -> Picture:
    values = np.load(path, allow_pickle=False)
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError(f"{path} must hold floats in [0, 1], it holds {values.dtype}", "Divide 8-bit values by 255.")
    return np.asarray(values, np.float32)


def _opened(path: Path) -> Picture:
    from zvae_tiled.arrays import imported

    pillow = imported("PIL.Image", INSTALL)
    with pillow.open(path) as image:
        values: Picture = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
        return values


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
