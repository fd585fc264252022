"""Reads pictures from files, and writes small ones."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zvae_tiled.errors import ImageError, WeightsError, ZvaeError
from zvae_tiled.inputs.depth import is_cut
from zvae_tiled.shortage import CLOSE, shortages
from zvae_tiled.wording import counted, operand

Picture = np.ndarray[Any, Any]
"""A picture (H, W, C): uint8, or float32 in [0, 1]."""

Check = Callable[[int, int], object]
"""Refuses a picture by its height and width."""

Room = Callable[[tuple[int, ...]], Picture]
"""Makes an array of a shape."""

INSTALL = "pip install 'zvae-tiled[pil]'"

LATENTS = (".safetensors", ".npz")
"""Endings of files that hold latents and never a picture. A .npy holds either."""

CHANNELS = (1, 3, 4)
"""Channels of pictures."""

NPY = "Use a .npy of floats in [0, 1] (H, W, 3) instead: it keeps every bit."


PIXELS, PIXELS_A_BYTE = 4 << 20, 64
"""A file may have the larger of: this many pixels, or this many per byte. Well packed photographs have 20 per byte."""


def floats(shape: tuple[int, ...]) -> Picture:
    """Make an array of NumPy's own."""
    return np.empty(shape, np.float32)


@shortages("reading a picture", CLOSE)
def read_picture(
    path: str | Path,
    check: Check | None = None,
    alpha: bool = False,
    channels: int | None = None,
    room: Room = floats,
) -> Picture:
    """Read a picture from a .npy, or any file that Pillow opens without losing bits.

    Args:
        path: The file.
        check: Called with the height and width that the file claims, before any pixel is read.
        alpha: Whether a file with 8 bits a channel is read with alpha; a file without it is opaque.
        channels: Channels that the picture must have, or it is refused before any pixel is read. Default: any.
        room: Makes the float32 array of a shape that a .npy is read into. Default: one of NumPy's own.

    Returns:
        uint8 of a file with 8 bits a channel, else float32 in [0, 1].

    Raises:
        ImageError: The file is not a picture, has more bits per channel than Pillow reads or other channels, or claims
            too many pixels for its size.
        MissingExtraError: Pillow is needed and not installed.
    """
    path = Path(path)
    try:
        with _file(path) as (file, size):
            if path.suffix.lower() == ".npy":
                values = _array(path, file, size, check, channels, room)
            else:
                values = _opened(path, file, size, check, "RGBA" if alpha else "RGB", channels)
    except (ZvaeError, MemoryError):
        raise
    except Exception as error:  # for broken files, NumPy and Pillow raise errors of many types
        unknown = type(error).__name__ == "UnidentifiedImageError"  # its text names an object of Python's
        problem = f"{path} cannot be read as a picture: {'it is none that Pillow knows' if unknown else error}"
        advice = f"Use a .png, .jpg, .webp, .tif or .npy. {NPY}"
        if path.suffix.lower() in LATENTS:
            advice = f"A picture is read from a .png, .jpg, .webp, .tif or .npy only. {_decode(path)}"
        raise ImageError(problem, advice) from error
    return values


def _decode(path: Path) -> str:
    """Return advice for a file that looks like latents."""
    return f"This looks like latents. Decode them first: zvae decode -o picture.png {operand(path)}"


class _Seen(ZvaeError):
    """Ends the reading of a picture once its sides are known."""


def picture_sides(path: str | Path, channels: int | None = None) -> tuple[int, int]:
    """Return height and width of the picture that a file claims to hold. No pixel is read.

    Args:
        path: The file.
        channels: As in `read_picture`.

    Raises:
        ImageError: As in `read_picture`.
        MissingExtraError: Pillow is needed and not installed.
    """
    sides: list[tuple[int, int]] = []

    def see(height: int, width: int) -> None:
        sides.append((height, width))
        raise _Seen("its sides are known")

    with suppress(_Seen):
        read_picture(path, see, channels == 4, channels)  # a file without sides is refused here
    return sides[0]


@contextmanager
def _file(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file. Opening a named pipe would wait for ever."""
    from zvae_tiled.files.opening import open_regular

    try:
        raw, state = open_regular(path)
    except WeightsError as error:
        raise ImageError(error.problem, "Use a .png, .jpg, .webp, .tif or .npy.") from error
    with io.BufferedReader(raw) as file:
        yield file, state.st_size


def as_floats(picture: Picture) -> Picture:
    """Return a picture as float32 in [0, 1]."""
    if picture.dtype != np.uint8:
        return picture
    values = picture.astype(np.float32)
    values /= 255
    return values


def _array(path: Path, file: BinaryIO, size: int, check: Check | None, channels: int | None, room: Room) -> Picture:
    from zvae_tiled.inputs.arrays import shape_text
    from zvae_tiled.inputs.latent_files.npy import check_room, read_header, read_into

    header = read_header(file, size, str(path), ImageError)
    if not np.issubdtype(header.dtype, np.floating):
        problem = f"{path} must hold floats in [0, 1], it holds {header.dtype!s:.40}"
        raise ImageError(problem, "Divide 8-bit values by 255.")
    if len(header.shape) != 3:
        problem = f"{path} must hold (height, width, channels), its shape is {shape_text(header.shape)}"
        latents = len(header.shape) > 3 and header.shape[-1] not in CHANNELS
        raise ImageError(problem, _decode(path) if latents else "Save one picture, without an axis for a batch.")
    _check_channels(path, header.shape[2], channels)
    if check is not None:
        check(*header.shape[:2])
    check_room(4 * math.prod(header.shape) + header.fortran * header.nbytes, str(path), ImageError)
    values = room(header.shape)
    read_into(values, file, header, str(path), ImageError)
    return values


def _check_channels(path: Path, found: int, wanted: int | None, grey: bool = False) -> None:
    if wanted is not None and found != wanted:
        has = f"is grey, which is read as {found} channels" if grey else f"has {counted(found, 'channel')}"
        raise ImageError(f"{path} {has}, and {wanted} are encoded", f"Save it with {wanted} channels.")


def _opened(path: Path, file: BinaryIO, size: int, check: Check | None, wanted: str, channels: int | None) -> Picture:
    from zvae_tiled.inputs.arrays import imported

    pillow, operations = imported("PIL.Image", INSTALL), imported("PIL.ImageOps", INSTALL)
    with _any_size(pillow), pillow.open(file) as image:
        _check_pixels(path, size, image.size)
        mode, kind = image.mode, image.format
        grey = mode.startswith("I;16") or (mode == "I" and kind in SIXTEEN_BITS)
        if mode != "F" and (is_cut(image, file) or (mode == "I" and not grey)):
            raise ImageError(f"{path} has more than 8 bits a channel, which Pillow cannot read", NPY)
        _check_channels(path, 3 if grey or mode == "F" else len(wanted), channels, grey or mode == "F")
        if check is not None:
            turn = pillow.Image.getexif(image).get(ORIENTATION)  # a PNG's own getexif reads all pixels first
            stored = getattr(image, "_tile_size", image.size)  # of a TIFF, Pillow has turned `size` already
            check(*(stored if turn in LYING else stored[::-1]))
        operations.exif_transpose(image, in_place=True)
        if mode == "F":
            return _grey(np.asarray(image, np.float32))
        if grey:
            return _grey(np.asarray(image, np.float32) / np.float32(65535))
        return np.asarray(image if mode == wanted else image.convert(wanted))


def _check_pixels(path: Path, size: int, shape: tuple[int, int]) -> None:
    width, height = shape
    limit = max(PIXELS, PIXELS_A_BYTE * size)
    if width * height > limit:
        raise ImageError(
            f"{path} claims {width}x{height} pixels; the limit for a file of {size:,} bytes is {limit:,} pixels, "
            f"{PIXELS_A_BYTE} a byte",
            "If it is a blank picture of that size, save it without compression: as a .npy of floats or a .tif.",
        )


ORIENTATION, LYING = 0x0112, (5, 6, 7, 8)
"""The EXIF tag that says how a picture is turned, and its values for one whose height is its stored width."""

SIXTEEN_BITS = ("PNG", "PPM")
"""Formats whose 16-bit values Pillow reads as 32-bit integers."""


_lock = threading.Lock()
_lifted: list[Any] = []
"""Pillow's limit, once for each thread that reads a picture: the last one sets it again."""


@contextmanager
def _any_size(pillow: Any) -> Iterator[None]:
    """Lift Pillow's limit on pixels. `_check_pixels` refuses large pictures from small files instead."""
    with _lock:
        _lifted.append(_lifted[0] if _lifted else pillow.MAX_IMAGE_PIXELS)
        pillow.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _lock:
            before = _lifted.pop()
            if not _lifted:
                pillow.MAX_IMAGE_PIXELS = before


def _grey(values: np.ndarray[Any, Any]) -> Picture:
    return np.repeat(values.astype(np.float32)[:, :, None], 3, axis=2)


def check_picture(path: Path, height: int = 1, width: int = 1) -> None:
    """Refuse, before any work, a path that no picture of this size can be written to.

    Raises:
        OutputError: The path cannot be written to, or its ending is not that of a picture format that holds it.
    """
    from zvae_tiled.sinks import file_target

    file_target(path, (1, height, width, 3))


def write_picture(path: str | Path, values: np.ndarray[Any, Any]) -> None:
    """Write a picture (H, W, 3), uint8, to a file of any picture format.

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
