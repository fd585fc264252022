"""Loads the native CPU kernels with ctypes: the library, its paths, and its plain C structs (native/zvae.h)."""

from __future__ import annotations

import ctypes
import platform
import sys
from ctypes import POINTER, Structure, c_char_p, c_float, c_int64, c_void_p
from functools import cache
from pathlib import Path

_Whole = c_int64

CONTRACT = 9
"""Version of the structs (native/zvae.h)."""


class NativePath(Structure):
    """One path: the kernels, built for one kind of CPU.

    Attributes:
        name: ``amx``, ``avx512bf16``, ``avx512vnni``, ``avx512``, ``avx2``, ``neon_bf16``, ``neon`` or
            ``portable``.
        pixels: Pixels of a tile in registers.
        outputs: Output channels of a tile in registers.
        lanes: Output channels are padded to a multiple of it.
        depth: Input channels are padded to a multiple of it.
        number: Bytes of the type it multiplies: 4, or 2 for bfloat16.
        tile_rows: Rows of a tile, at most.
        queries: Queries of a tile of the attention, at most.
        panel_rows: Rows of a product of the attention in registers.
        panel: Outputs of that product: keys, and channels of values, are padded to a multiple of it.
        softmax_keys: Keys between two updates of the attention's softmax.
        small: Bytes of the numbers that squares multiply: 2, 4, or 0 if the path multiplies no squares.
        blocks: Blocks of outputs whose products a tile of squares holds at once.
    """

    _fields_ = (
        ("_name", c_char_p),
        *((name, _Whole) for name in ("pixels", "outputs", "lanes", "depth", "number", "tile_rows")),
        *((name, _Whole) for name in ("queries", "panel_rows", "panel", "softmax_keys", "small", "blocks")),
        ("_functions", 6 * c_void_p),
    )
    pixels: int
    outputs: int
    lanes: int
    depth: int
    number: int
    tile_rows: int
    queries: int
    panel_rows: int
    panel: int
    softmax_keys: int
    small: int
    blocks: int
    _name: bytes

    @property
    def name(self) -> str:
        """The name of the path."""
        return self._name.decode()


class Conv(Structure):
    """A convolution with its norm, activation, upsampling, skip and shortcut."""

    _fields_ = (
        *((name, _Whole) for name in ("in_type", "out_type", "rows", "width", "in_width", "inputs", "outputs")),
        *((name, _Whole) for name in ("kernel", "stride", "left", "upsample", "squares", "tile_rows", "tile_columns")),
        *((name, c_void_p) for name in ("rows_in", "scale", "shift", "mean")),
        ("rms", c_float),
        ("activation", _Whole),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("skip", c_void_p),
        ("skip_relu", _Whole),
        ("skip_inputs", _Whole),
        *((name, c_void_p) for name in ("shortcut", "out", "low", "high", "sums", "scratch")),
        *((name, _Whole) for name in ("scratch_bytes", "threads")),
    )


class Pack(Structure):
    """Weights to pack into the kernels' order."""

    _fields_ = (
        *((name, _Whole) for name in ("type", "outputs", "inputs", "kernel", "upsample", "squares")),
        *((name, c_void_p) for name in ("weights", "packed", "sums")),
        ("threads", _Whole),
    )


class Attend(Structure):
    """The attention of some queries to one block of keys."""

    _fields_ = (
        *((name, _Whole) for name in ("type", "queries", "keys", "channels")),
        ("scale", c_float),
        *((name, c_void_p) for name in ("query", "block", "top", "weight", "total", "sums", "packed", "scratch")),
        *((name, _Whole) for name in ("scratch_bytes", "threads")),
    )


class Moments(Structure):
    """Mean and M2 of every channel of every row."""

    _fields_ = (
        *((name, _Whole) for name in ("type", "rows", "width", "channels")),
        *((name, c_void_p) for name in ("rows_in", "mean", "m2")),
        ("threads", _Whole),
    )


class ReadBack(Structure):
    """Memory to read back: the sum of the bits, and the largest magnitude, of every row."""

    _fields_ = (
        *((name, _Whole) for name in ("type", "rows", "numbers")),
        *((name, c_void_p) for name in ("memory", "sums", "largest")),
        ("threads", _Whole),
    )


class Copy(Structure):
    """Rows to copy to rows that follow one another."""

    _fields_ = (
        *((name, _Whole) for name in ("rows", "bytes")),
        *((name, c_void_p) for name in ("rows_in", "out")),
        ("threads", _Whole),
    )


class Library:
    """The shared library, and the paths that this CPU can run."""

    def __init__(self, file: Path) -> None:
        """Open the library.

        Raises:
            OSError: This system cannot load the file.
            ValueError: The file was built from another version of the sources.
        """
        self._calls = ctypes.CDLL(str(file))
        expected = [CONTRACT, *map(ctypes.sizeof, (NativePath, Conv, Pack, Attend, Moments, ReadBack, Copy))]
        if list((_Whole * len(expected)).in_dll(self._calls, "zvae_contract")) != expected:
            raise ValueError
        self._calls.zvae_path.restype = POINTER(NativePath)
        self._calls.zvae_peak.argtypes = [_Whole, _Whole]
        for name in ("zvae_paths", "zvae_runs", "zvae_peak"):
            getattr(self._calls, name).restype = _Whole
        for name in ("zvae_path", "zvae_runs"):
            getattr(self._calls, name).argtypes = [_Whole]
        for name in ("zvae_conv", "zvae_pack", "zvae_attend", "zvae_moments", "zvae_readback", "zvae_copy"):
            getattr(self._calls, name).argtypes = [_Whole, c_void_p]
            getattr(self._calls, name).restype = None
        built = [self._calls.zvae_path(i).contents for i in range(self._calls.zvae_paths())]
        self._numbers = {path.name: number for number, path in enumerate(built)}
        self.built = {path.name: path for path in built}
        answers = {path.name: self._calls.zvae_runs(number) for number, path in enumerate(built)}
        self.runs = {name: path for name, path in self.built.items() if answers[name]}
        self.fast = {name for name in self.runs if answers[name] == 2}

    def call(self, path: str, operation: Conv | Pack | Attend | Moments | ReadBack | Copy) -> None:
        """Run one operation. Other Python threads run meanwhile."""
        name = f"zvae_{type(operation).__name__.lower()}"
        getattr(self._calls, name)(self._numbers[path], ctypes.byref(operation))

    def peak(self, path: str, rounds: int) -> int:
        """Multiply registers `rounds` times and nothing else. Return the number of floating-point operations."""
        return int(self._calls.zvae_peak(self._numbers[path], rounds))


def library_file() -> Path | None:
    """Return the path of the library, or None if it was not built."""
    file = Path(__file__).with_name(f"_native.{sys.platform}-{platform.machine()}.so")  # as setup.py names it
    return file if file.exists() else None


def source_tree() -> Path | None:
    """Return the source tree that this package was imported from, or None if it is an installed copy."""
    root = Path(__file__).parents[3]
    return root if (root / "setup.py").exists() else None


@cache
def open_library() -> Library | str:
    """Return the library, opened once, or a sentence that says why it cannot be opened."""
    file = library_file()
    if file is None:
        return "the native kernels were not built: install the package where a C++17 compiler is present"
    try:
        return Library(file)
    except OSError as error:
        return f"{file} cannot be loaded: {error}"
    except (AttributeError, ValueError):  # AttributeError: an older library has no contract
        return f"{file} was built for another version: install the package again"
