"""Converts arrays of other libraries: NumPy, MLX, and any library with DLPack (torch, JAX, CuPy)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from zvae_tiled.checks import nearest, shown
from zvae_tiled.errors import InputError, MissingExtraError
from zvae_tiled.planner.budget import available_memory

OutputType = Literal["mx", "np", "pil", "torch"]
OUTPUT_TYPES: tuple[OutputType, ...] = ("mx", "np", "pil", "torch")

PixelType = Literal["float32", "uint8"]
PIXEL_TYPES: tuple[PixelType, ...] = ("float32", "uint8")

SMALL = 1 << 28
"""Bytes of an array that is copied without a look at the memory available."""

MOST_LENGTH = (1 << 31) - 1
"""The longest axis of an MLX array."""

_FLOATS = {"float16": mx.float16, "bfloat16": mx.bfloat16, "float32": mx.float32, "float64": mx.float32}
"""Accepted types, and the MLX type of each. MLX computes in float64 on CPUs only, and no VAE needs it."""


def to_mlx(array: Any, what: str, error: type[InputError], more: Mapping[str, mx.Dtype] | None = None) -> mx.array:
    """Return a floating-point array of any library as an MLX array of the same type. A lazy MLX array is computed.

    Args:
        array: The array.
        what: Its name in an error.
        error: The error to raise.
        more: Further accepted types, and the MLX type of each.

    Raises:
        InputError: It is not an array, has a type that is not accepted, or is lazy and was made in another thread.
    """
    types, kind = {**_FLOATS, **(more or {})}, kind_of(array)
    if kind is None:
        raise error(
            f"{what} must be an mx, numpy or torch array (or support DLPack), not {type(array).__name__}",
            _advice(array, what),
        )
    if kind not in types:
        *first, last = types
        raise error(
            f"{what} must be {', '.join(first)} or {last}, not {kind}",
            "Convert quantised or integer values to floats first, with the scale they were made with.",
        )
    if isinstance(array, mx.array):
        _compute(array, what, error)
    else:
        _check_room(array, what, error)
        _check_mask(array, what, error)
    return _converted(array, kind, types[kind], what, error)


def _advice(value: Any, what: str) -> str:
    """Return what to do with a value that is no array."""
    if isinstance(value, str | PathLike):
        reader = {"latents": "zvae_tiled.read_latent_file", "images": "PIL.Image.open"}.get(what, "numpy.load")
        return f"Read the file first: {reader}({shown(str(value))})."
    return "Make an array of it: numpy.array(…)." if isinstance(value, list | tuple) else "Pass an array."


def kind_of(array: Any) -> str | None:
    """Return the name of an array's type, such as "bfloat16"; None if it is not an array."""
    if isinstance(array, mx.array):
        return str(array.dtype).removeprefix("mlx.core.")
    if isinstance(array, np.ndarray | np.generic):
        return str(array.dtype.name)
    return str(array.dtype).rpartition(".")[2] if hasattr(array, "__dlpack__") else None


def _compute(array: mx.array, what: str, error: type[InputError]) -> None:
    try:
        mx.eval(array)
    except RuntimeError as cause:
        if "no Stream" not in str(cause):  # another error, such as no memory
            raise
        raise error(
            f"{what} are not computed yet, and were made in another thread: MLX computes in the thread that made them",
            f"Call mx.eval({what}) in that thread, before you pass them.",
        ) from cause


def _check_room(array: Any, what: str, error: type[InputError]) -> None:
    """Refuse an array that cannot be copied: a view of one number may claim any size."""
    shape = tuple(getattr(array, "shape", ()))  # of another library's array it may be missing
    size = min(4, getattr(array, "itemsize", 4)) * math.prod(shape)
    if size > SMALL and (size > available_memory().size or max(shape) > MOST_LENGTH):
        raise error(
            f"{what} of shape {shape_text(shape)} take {size:,} bytes, {available_memory()}",
            "Pass a part of them at a time.",
        )


def _check_mask(array: Any, what: str, error: type[InputError]) -> None:
    """Refuse values behind a mask, which are left from before and do not count."""
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        masked = int(np.ma.getmaskarray(array).sum())
        raise error(
            f"{what} must have a value everywhere; masked are {masked:,} of {array.size:,}",
            "Fill them first: array.filled(…).",
        )


def _converted(array: Any, kind: str, dtype: mx.Dtype, what: str, error: type[InputError]) -> mx.array:
    if kind == "float64":
        return mx.array(_narrowed(_on_host(array, what, error), what, error))
    if isinstance(array, mx.array):
        return array.astype(dtype)
    if isinstance(array, np.ndarray | np.generic):
        if kind == "bfloat16":  # ml_dtypes' type: NumPy's buffer protocol has no name for it, so its bits are copied
            return mx.array(np.ascontiguousarray(array).view(np.uint16)).view(mx.bfloat16)
        native = np.asarray(array, dtype=array.dtype.newbyteorder("="))
        # MLX reads no array that goes backwards, such as BGR pixels that are turned to RGB by [..., ::-1].
        return mx.array(np.ascontiguousarray(native) if min(native.strides, default=0) < 0 else native)
    with reading(array, what, error):
        return mx.array(_lent(array)).astype(dtype)


def _on_host(array: Any, what: str, error: type[InputError]) -> np.ndarray:
    if isinstance(array, mx.array | np.ndarray | np.generic):
        return np.asarray(array)
    with reading(array, what, error):
        return np.from_dlpack(_lent(array))


def _lent(array: Any) -> Any:
    # torch exports no tensor that needs gradients or is on another device
    return array.detach().cpu() if hasattr(array, "detach") else array


@contextmanager
def reading(array: Any, what: str, error: type[InputError]) -> Iterator[None]:
    """Raise an `error` that names the array, and what it is, for any of its own library."""
    try:
        yield
    except Exception as cause:
        raise error(
            f"{what}: the {type(array).__module__} array cannot be read: {cause}", "Pass a NumPy array."
        ) from cause


def _narrowed(array: np.ndarray, what: str, error: type[InputError]) -> np.ndarray:
    """Return float64 values as float32."""
    with np.errstate(over="ignore"):  # the error below names the value
        narrow = array.astype(np.float32)
    past = np.isinf(narrow) & np.isfinite(array)
    if past.any():
        value = array[past][0]
        raise error(
            f"{what} hold {past.sum()} values beyond the range of float32 (3.4e38), to which float64 is converted; "
            f"the first is {value:.3g}",
            "The sampling before this went wrong, or the values are in other units.",
        )
    return narrow


MAX_AXES = 8
"""The most axes of a shape that a message prints."""


def shape_text(shape: Sequence[int]) -> str:
    """Return a short text for a shape: a file may claim thousands of axes, or lengths of thousands of digits."""
    lengths = [str(length) if abs(length) < 1 << 64 else "2^64 or more" for length in shape[:MAX_AXES]]
    if len(shape) > MAX_AXES:
        lengths.append(f"… {len(shape):,} axes")
    return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"


def check_output(output_type: str, dtype: str, layout: str, in_unit_range: bool, channels: int) -> None:
    """Refuse, before any work, a form of pictures that cannot be had.

    Raises:
        InputError: A name is unknown, or the type cannot hold values outside [0, 1].
    """
    for name, value, allowed in (
        ("output_type", output_type, OUTPUT_TYPES),
        ("dtype", dtype, PIXEL_TYPES),
        ("layout", layout, ("NHWC", "NCHW")),
    ):
        if not isinstance(value, str) or value not in allowed:
            raise InputError(
                f"{name} must be one of {', '.join(allowed)}, it is {shown(value)}", nearest(value, allowed)
            )
    if dtype == "uint8" and not in_unit_range:
        raise InputError("dtype='uint8' holds values in [0, 1] only", "Leave out dtype, or leave out raw=True.")
    if output_type == "pil" and layout != "NHWC":
        raise InputError("output_type='pil' has no layout NCHW", "Use 'mx', 'np' or 'torch'.")
    if output_type == "pil":
        if channels > 4:
            raise InputError(
                f"output_type='pil' holds up to 4 channels, this VAE gives {channels}", "Use 'mx' or 'np'."
            )
        if not in_unit_range:
            raise InputError(
                "output_type='pil' holds values in [0, 1] only", "Use 'mx', 'np' or 'torch' with raw=True."
            )
        imported("PIL.Image", "pip install 'zvae-tiled[pil]'")
    if output_type == "torch":
        imported("torch", "pip install torch")


_SPOKEN = {"PIL": "Pillow", "distributed": "Dask (its package distributed)", "dask": "Dask"}
"""How packages are called whose module has another name."""


def imported(module: str, install: str) -> Any:
    """Import an optional package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        package = _SPOKEN.get(package, package)
        raise MissingExtraError(f"this needs {package}, which cannot be imported", install) from error
