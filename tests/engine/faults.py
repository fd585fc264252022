"""Faults of the device, put into one call of a decode or an encode, and what became of the picture.

Native calls are struck where Python meets the library (`NativeFaults`), MLX's where the engine meets its kernels
(`MlxFaults`). Each call can be struck once, or it and every later one of its kind.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import mlx.core as mx
import numpy as np

from tests.models import random_images, random_latents, random_vae
from tests.plans import bits, plan_for
from zvae_tiled import VAEConfig
from zvae_tiled.chain import Task
from zvae_tiled.decoding import norms, parameters
from zvae_tiled.engine import run as engine_run
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.kernels.mlx_storage import MlxStorage
from zvae_tiled.kernels.native_library import Attend, Conv, Library, Moments, Pack
from zvae_tiled.kernels.native_rows import NativeKernels
from zvae_tiled.loading import dtype_name

CONFIG = VAEConfig(block_out_channels=(8, 16), norm_num_groups=2, latent_channels=3)
ROWS: dict[Task, int] = {"decode": 3, "encode": 8}
"""Rows of a band."""

Operation = Any
Kind = type[Conv] | type[Pack] | type[Attend] | type[Moments]
KINDS: tuple[Kind, ...] = (Pack, Conv, Attend, Moments)
Outcome = str
"""``refused``, ``mended`` (the right bits, by computing again), ``harmless`` (the right bits anyway) or ``silent``."""

_BITS = {0: np.uint32, 1: np.uint16, 2: np.uint16}
_NAN = {np.uint32: 0x7FC00000, np.uint16: 0x7FFF, np.float64: math.nan}
_FLAT = {np.uint32: 0x3F000000, np.uint16: 0x3E00, np.float64: 0.5}


def memory(at: int, rows: int, row: int, kind: Any) -> np.ndarray:
    """Some rows of numbers that lie at an address."""
    size = rows * row * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(at), kind).reshape(rows, row)


def results(path: Any, call: Operation) -> list[np.ndarray]:
    """The memory a call is to fill, as bits of floats."""
    if isinstance(call, Conv):
        grown = 2 if call.upsample else 1
        return [memory(call.out, call.rows * grown, call.width * grown * call.outputs, _BITS[call.out_type])]
    if isinstance(call, Moments):
        return [memory(at, call.rows, call.channels, np.float64) for at in (call.mean, call.m2)]
    if isinstance(call, Attend):
        sizes = ((call.total, call.channels), (call.weight, 1), (call.top, 1))
        return [memory(at, call.queries, row, np.uint32) for at, row in sizes]
    assert isinstance(call, Pack)
    taps = (9 if call.upsample else 12) if call.winograd else 16 if call.upsample else call.kernel**2
    outputs, inputs = (-(-n // to) * to for n, to in ((call.outputs, path.lanes), (call.inputs, path.depth)))
    return [memory(call.packed, outputs, taps * inputs, np.uint32 if path.itemsize == 4 else np.uint16)]


def _filled(values: dict[Any, Any], arrays: list[np.ndarray]) -> None:
    for array in arrays:
        array[...] = values[array.dtype.type]


def _one(values: dict[Any, Any], arrays: list[np.ndarray]) -> None:
    arrays[0].reshape(-1)[arrays[0].size // 2] = values[arrays[0].dtype.type]


def _one_bit(arrays: list[np.ndarray]) -> None:
    bits = arrays[0].reshape(-1)
    bits = bits.view(np.uint64) if bits.dtype == np.float64 else bits
    bits[bits.size // 2] ^= bits.dtype.type(8)


_ZEROS = dict.fromkeys((np.uint32, np.uint16, np.float64), 0)

AFTER: dict[str, Callable[[list[np.ndarray]], None]] = {
    "all zeros": lambda arrays: _filled(_ZEROS, arrays),
    "a row of zeros": lambda arrays: _filled(_ZEROS, [array[len(array) // 2 :][:1] for array in arrays]),
    "one flat value": lambda arrays: _filled(_FLAT, arrays),
    "a flat row": lambda arrays: _filled(_FLAT, [array[len(array) // 2 :][:1] for array in arrays]),
    "one NaN": lambda arrays: _one(_NAN, arrays),
    "one bit": _one_bit,
}
"""What memory holds after the call in place of what was written."""

ALONE: dict[str, Callable[[list[np.ndarray]], None]] = {
    "means of zeros": lambda arrays: _filled(_ZEROS, arrays[:1]),
    "M2 of zeros": lambda arrays: _filled(_ZEROS, arrays[1:]),
}
"""The same, of moments alone."""

HALF = {Conv: "rows", Moments: "rows", Attend: "queries"}
"""How much a call is to do."""

FAULTS = ("does nothing", "does half", *AFTER)


def faults_of(kind: Kind) -> tuple[str, ...]:
    """The faults there are for a kind of native call."""
    if kind is Pack:
        return tuple(fault for fault in FAULTS if fault != "does half")
    return (*FAULTS, *ALONE) if kind is Moments else FAULTS


class NativeFaults:
    """Strikes calls of the native library of one kind, from one of them on, so many times."""

    def __init__(self, kind: Kind, number: int, fault: str, times: float) -> None:
        self.calls: Counter[type] = Counter()
        self.struck = 0
        self._kind, self._number, self._fault, self._times = kind, number, fault, times

    @contextmanager
    def __call__(self) -> Iterator[None]:
        healthy = Library.call

        def call(library: Library, path: str, operation: Operation) -> None:
            number = self.calls[type(operation)]
            self.calls[type(operation)] += 1
            if type(operation) is not self._kind or number < self._number or self.struck >= self._times:
                healthy(library, path, operation)
                return
            self.struck += 1
            self._strike(library, path, operation, healthy)

        with patch.object(Library, "call", call):
            yield

    def _strike(self, library: Library, path: str, operation: Operation, healthy: Callable[..., None]) -> None:
        if self._fault == "does nothing":
            return
        if self._fault == "does half":
            size = HALF[type(operation)]
            whole = getattr(operation, size)
            setattr(operation, size, whole // 2)
            healthy(library, path, operation)
            setattr(operation, size, whole)
            return
        healthy(library, path, operation)
        (AFTER | ALONE)[self._fault](results(library.built[path], operation))


class MlxFaults:
    """Strikes what a method of MLX's kernels returns, from one of its calls on, so many times."""

    def __init__(self, kernels: MlxStorage, method: str, number: int, fault: str, times: float) -> None:
        self.calls: Counter[str] = Counter()
        self.struck = 0
        self._kernels, self._method, self._number, self._fault, self._times = kernels, method, number, fault, times

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with ExitStack() as stack:
            for method in METHODS:
                stack.enter_context(patch.object(self._kernels, method, self._watched(method)))
            yield

    def _watched(self, method: str) -> Callable[..., Any]:
        healthy = getattr(self._kernels, method)

        def computed(*arguments: Any) -> Any:
            number = self.calls[method]
            self.calls[method] += 1
            found = healthy(*arguments)
            if method != self._method or number < self._number or self.struck >= self._times:
                return found
            self.struck += 1
            return _struck(found, self._fault)

        return computed


METHODS = ("prepare", "activate", "conv", "keys", "attend", "moments")
"""What the engine asks MLX's kernels to compute."""


def _struck(found: Any, fault: str) -> Any:
    """What a method returned, as a device that fails would have it."""
    if isinstance(found, tuple):  # moments
        arrays = [np.array(array, np.float64) for array in found]
        (AFTER | ALONE)[fault](arrays)
        return tuple(arrays)
    if isinstance(found, list):  # activated pieces
        middle = len(found) // 2
        return [_struck(piece, fault) if "row" not in fault or i == middle else piece for i, piece in enumerate(found)]
    if isinstance(found, dict):  # weights
        return {name: _struck(array, fault) if "weight" in name else array for name, array in found.items()}
    whole = np.array(found.astype(mx.float32), order="C")
    rows = whole.shape[1] if len(whole) == 1 else len(whole)  # of a map, or outputs of weights
    AFTER[fault]([whole.reshape(rows, -1).view(np.uint32)])
    return mx.array(whole).astype(found.dtype)


class Picture:
    """A decode or an encode of a small random VAE by bands of some rows, on these kernels."""

    def __init__(self, kernels: Any, task: Task = "decode", seed: int = 0) -> None:
        self._kernels = kernels
        vae = random_vae(CONFIG, dtype_name(kernels.dtype), seed)
        given = random_latents(CONFIG, 5, 6, seed=seed) if task == "decode" else random_images(CONFIG, 5, 6, seed=seed)
        plan = plan_for(vae, given.shape, Random(3), task=task)
        self._plan = replace(plan, sweeps=tuple(replace(sweep, rows=ROWS[task]) for sweep in plan.sweeps))
        self._weights = parameters(vae.model)
        self._given = mx.array(given.transpose(0, 2, 3, 1) if task == "decode" else given).astype(kernels.dtype)

    def __call__(self) -> bytes:
        """Return the finished rows' bits."""
        with TemporaryDirectory() as folder, patch.object(engine_run, "block_rows", lambda width: 2):
            run = engine_run.Run(self._plan, self._kernels, self._weights, norms(self._weights), Path(folder))
            return b"".join(map(bits, run.rows(self._given)))


def outcome(strike: NativeFaults | MlxFaults, run: Callable[[], bytes], want: bytes, usual: int) -> Outcome:
    """Run under faults, and say what became of the picture."""
    try:
        with strike():
            got = run()
    except SilentFailureError:
        return "refused"
    assert strike.struck, "the fault was put into a call that there is not"
    if got != want:
        return "silent"
    return "mended" if strike.calls.total() > usual else "harmless"


def native_outcomes(kernels: NativeKernels, task: Task, kind: Kind, fault: str, times: float) -> list[Outcome]:
    """Strike every call of a kind in a picture, one after the other."""
    run = Picture(kernels, task)
    watch = NativeFaults(kind, 0, fault, 0)
    with watch():
        want = run()
    strikes = (NativeFaults(kind, number, fault, times) for number in range(watch.calls[kind]))
    return [outcome(strike, run, want, watch.calls.total()) for strike in strikes]


def mlx_outcomes(kernels: MlxStorage, task: Task, method: str, fault: str, times: float) -> list[Outcome]:
    """Strike every call of a method in a picture, one after the other."""
    run = Picture(kernels, task)
    watch = MlxFaults(kernels, method, 0, fault, 0)
    with watch():
        want = run()
    strikes = (MlxFaults(kernels, method, number, fault, times) for number in range(watch.calls[method]))
    return [outcome(strike, run, want, watch.calls.total()) for strike in strikes]
