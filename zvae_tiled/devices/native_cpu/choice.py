"""Chooses the native path of this CPU: the fastest that it can run, or the one in ``ZVAE_KERNELS``."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace

from zvae_tiled.devices.base import Device
from zvae_tiled.devices.cores import MOST, usable_cores
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.native_cpu.library import Library, NativePath, library_file, open_library, source_tree
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace
from zvae_tiled.devices.speeds import Speeds
from zvae_tiled.errors import InputError

VARIABLE = "ZVAE_KERNELS"
THREADS = "ZVAE_THREADS"

MLX = "mlx"
PORTABLE = "portable"
FASTEST_FIRST = ("amx", "avx512bf16", "avx512vnni", "avx512", "avx2", "neon_bf16", "neon", PORTABLE)
BFLOAT16 = ("amx", "avx512bf16", "avx512vnni", "neon_bf16", "amx_emulated")
"""Paths that multiply bfloat16, and round activations to it. VAEs of other types need more digits."""

FLOPS = {
    "amx": 1e12,
    "avx512bf16": 1.9e11,
    "avx512vnni": 1.5e11,
    "avx512": 9e10,
    "avx2": 7.5e10,
    "neon_bf16": 5e10,
    "neon": 4e10,
    "portable": 2e10,
    "amx_emulated": 1e9,
}
"""Products and sums a second and thread, those of squares as they are computed (`NativeWorkspace.taps`):
benchmarks/kernels.py on an AMD EPYC; AMX's are a prototype's; NEON's are estimates: two units of 4 numbers at 3 GHz."""

NUMBERS = 1.2e9
"""Numbers of a map that a thread reads, transforms and writes in a second, or whose moments it gathers, as `calibrate`
found them on the same machine. Of weights it prepares half as many."""

BAND_ROWS = 64
"""Of 16 rows, a decode of 512×512 spends a third of its time between native calls; of 128, it is no faster."""

ADVICE = "install a C++17 compiler (g++, clang), then the package again: MLX takes twice as long, or more"
IN_SOURCES = (
    "Python imports the sources in {tree}, and no kernels were built there: install a C++17 compiler (g++, clang), "
    "then run pip install -e . there; or, where an installed copy has kernels, start Python in another folder: "
    "MLX takes twice as long, or more"
)


@dataclass(frozen=True)
class NativeStatus:
    """The kernels that compute on this CPU.

    Attributes:
        path: ``amx``, ``avx512bf16``, ``avx512vnni``, ``avx512``, ``avx2``, ``neon_bf16``, ``neon``,
            ``portable``, or ``mlx``, MLX's own kernels.
        reason: One sentence: why this path was chosen, and what a faster one would need.
        runs: Native paths that this CPU can run, fastest first.
        threads: Threads of the native kernels.
        advice: What would make it faster, or an empty text.
    """

    path: str
    reason: str
    runs: tuple[str, ...]
    threads: int
    advice: str = ""


def native_status() -> NativeStatus:
    """Return the kernels that compute on this CPU, and why.

    Raises:
        InputError: ``ZVAE_KERNELS`` or ``ZVAE_THREADS`` has a value that is not possible here.
    """
    asked, library = os.environ.get(VARIABLE, "auto"), open_library()
    threads = _threads()
    runs = () if isinstance(library, str) else _ordered(library)
    if asked == MLX:
        return NativeStatus(MLX, f"{VARIABLE} is {MLX}", runs, threads)
    if asked == "auto":
        if isinstance(library, str):
            return NativeStatus(MLX, library, runs, threads, _advice())
        fast = next((name for name in runs if name in library.fast), None)
        if fast is None:  # it needs fewer products than MLX, and no single-threaded passes: docs/performance.md
            return NativeStatus(PORTABLE, "this CPU has no instructions of a faster path", runs, threads)
        return NativeStatus(fast, "the fastest this CPU has", runs, threads)
    if asked not in (*FASTEST_FIRST, *runs):
        known = ", ".join(("auto", *FASTEST_FIRST, MLX))
        raise InputError(f"{VARIABLE} must be one of {known}, it is {asked!r}", f"Unset {VARIABLE}, or choose another.")
    if asked not in runs:
        raise InputError(
            f"{VARIABLE} is {asked!r}: {_missing(asked, library)}", f"Unset {VARIABLE}, or choose another."
        )
    return NativeStatus(asked, f"{VARIABLE} is {asked}", runs, threads)


def native_path(status: NativeStatus, bfloat16: bool) -> NativePath | None:
    """Return the path for a storage type, or None if MLX computes."""
    library = open_library()
    if status.path == MLX or isinstance(library, str):
        return None
    name = status.path
    if name in BFLOAT16 and not bfloat16:
        name = next(other for other in status.runs if other not in BFLOAT16)
    found: NativePath = library.runs[name]
    return found


def native_workspace(path: NativePath, threads: int) -> NativeWorkspace:
    """Return the Workspace of a path."""
    exported = [field.name for field in fields(NativeWorkspace) if hasattr(path, field.name)]
    return NativeWorkspace(threads, **{name: getattr(path, name) for name in exported})


def cpu_device(bfloat16: bool) -> Device:
    """Return this CPU as a Device, with the kernels that compute on it. Needs no MLX."""
    status = native_status()
    path = native_path(status, bfloat16)
    if path is None:
        return CPU
    speeds = _assumed(FLOPS[path.name] * status.threads, NUMBERS * status.threads * (2 if bfloat16 else 4))
    workspace = native_workspace(path, status.threads)
    name = f"cpu/{path.name}"
    return replace(CPU, name=name, folder="native_cpu", workspace=workspace, band_rows=BAND_ROWS, speeds=speeds)


def _advice() -> str:
    tree = source_tree() if library_file() is None else None
    return ADVICE if tree is None else IN_SOURCES.format(tree=tree)


def _assumed(flops: float, maps: float) -> Speeds:
    return Speeds(convolutions=flops, maps=maps, attention=flops, moments=maps, weights=0.5 * maps)


def _ordered(library: Library) -> tuple[str, ...]:
    return (*(name for name in FASTEST_FIRST if name in library.runs), *(library.runs.keys() - set(FASTEST_FIRST)))


def _missing(asked: str, library: Library | str) -> str:
    if isinstance(library, str):
        return library
    if asked not in library.built:
        return "the package was built for another kind of CPU, or by a compiler that does not know these instructions"
    return "this CPU, or its operating system, does not have these instructions"


def _threads() -> int:
    asked = os.environ.get(THREADS)
    if asked is None:
        return usable_cores()
    if not asked.isdecimal() or len(asked) > 4 or not 1 <= int(asked) <= MOST:  # int() refuses many digits
        raise InputError(f"{THREADS} must be a whole number from 1 to {MOST}, it is {asked!r}", f"Unset {THREADS}.")
    return int(asked)
