"""Gives MLX a fast BLAS on Linux, by loading one before ``mlx.core`` is imported.

MLX's Linux wheels contain the reference BLAS: it is correct, but has one thread and is 30 times or more too slow.
The dynamic linker uses the first ``cblas_sgemm`` that is visible to the whole process. So a faster library that is
loaded earlier, with ``RTLD_GLOBAL``, computes every float32 matrix product and convolution on the CPU.

The environment variable ``ZVAE_BLAS`` is ``auto`` (default), ``off``, or a library to load. See docs/blas.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

from zvae_tiled.errors import BlasError

VARIABLE = "ZVAE_BLAS"
SYMBOL = "cblas_sgemm"
INSTALL = "pip install 'zvae-tiled[blas]'"

OPENBLAS = ("libopenblasp.so.0", "libopenblas.so.0")
"""Sonames of a system's OpenBLAS: Fedora's threaded one first, then that of Debian and conda."""

MKL_LAYERS = {"INTEL": 0, "SEQUENTIAL": 1, "GNU": 3, "TBB": 4}
RUNTIMES = {"INTEL": "libiomp5.so", "GNU": "libgomp.so.1", "TBB": "libtbb.so.12"}
"""MKL's threading layers: the number of each in MKL's header, and the library that MKL opens at the first call."""

MKL_SETTERS = ("MKL_Set_Interface_Layer", "MKL_Set_Threading_Layer", "MKL_CBWR_Set")
MKL_LP64, MKL_STRICT, MKL_BRANCHES = 0, 0x10000, {"AVX512": 12, "AVX2": 10}

AT_HWCAP, HWCAP_ATOMICS = 16, 1 << 8
"""Argument for `getauxval`, and the bit of its result that is set if an Arm core has the Armv8.1 atomics."""


@dataclass(frozen=True)
class BlasStatus:
    """Which BLAS the CPU uses, and why.

    Attributes:
        name: ``mkl``, ``nvpl``, ``openblas``, ``custom`` (named in ``ZVAE_BLAS``), ``external`` (loaded before
            by another program part) or ``builtin`` (the one in MLX's wheel).
        path: The library that was loaded, as a file or as a soname; None if none was loaded.
        active: Whether MLX uses a BLAS other than its built-in one.
        reason: One sentence: what happened, and how to change it.
    """

    name: str
    path: str | None
    active: bool
    reason: str


_refused: dict[str, BlasError] = {}
"""Errors of settings by the settings: after MLX is imported, nothing is tried again."""


def _none(reason: str) -> BlasStatus:
    return BlasStatus("builtin", None, False, reason)


class _UnusableError(Exception):
    """A library can be opened, but MLX cannot use it."""


@functools.cache
def preload() -> BlasStatus:
    """Load a fast BLAS if one is installed, before anything imports ``mlx.core``. Only the first call has an effect.

    Returns:
        Which BLAS is used, and why.

    Raises:
        BlasError: ``ZVAE_BLAS`` names a library that cannot be used. Nothing else raises.
    """
    setting = os.environ.get(VARIABLE, "").strip() or "auto"
    if setting in _refused:
        raise _refused[setting]
    if platform.system() != "Linux":
        return _none(f"nothing to do on {platform.system()}: MLX uses the system's own fast BLAS there")
    if setting.lower() == "off":
        return _none(f"switched off by {VARIABLE}=off")
    if "mlx.core" in sys.modules:
        return _none("too late: mlx.core was imported first; import zvae_tiled before mlx")
    if setting.lower() != "auto":
        return _named(setting)
    try:
        return _automatic()
    except Exception as error:  # an import must not fail only because no fast BLAS can be loaded
        return _none(f"looking for a fast BLAS failed ({type(error).__name__}: {error})")


def _named(setting: str) -> BlasStatus:
    path = os.path.expanduser(setting)
    try:
        detail = _load(path)
    except (OSError, _UnusableError) as error:
        _refused[setting] = BlasError(
            f"{VARIABLE} must be auto, off or a library with {SYMBOL}, but it is {setting!r}.\n{error}",
            f"Set it to the full path of an LP64 BLAS, or unset it and run: {INSTALL}",
        )
        raise _refused[setting] from error
    return BlasStatus("custom", path, True, f"named in {VARIABLE}{detail}")


def _automatic() -> BlasStatus:
    if _has(ctypes.CDLL(None), SYMBOL):
        return BlasStatus("external", None, True, f"{SYMBOL} was loaded before zvae_tiled; no other is loaded")
    skipped = []
    for name, path, problem in _candidates():
        if not problem:
            try:
                return BlasStatus(name, path, True, f"loaded before mlx.core{_load(path)}")
            except (OSError, _UnusableError) as error:
                problem = str(error)
        skipped.append(f"{path} was not used: {problem}")
    return _none("; ".join(skipped) or f"no fast BLAS is installed, and MLX's own is 30 times slower; {INSTALL}")


def _candidates() -> Iterator[tuple[str, str, str]]:
    """Yield name, library and problem of each installed BLAS, the best first. An empty problem: it may be loaded."""
    if mkl := _installed("mkl", "libmkl_rt.so.*"):
        # If a part of MKL is missing, MKL ends the process at the first call: check the parts before.
        parts = [mkl.with_name(mkl.name.replace("_rt", part)) for part in ("_core", "_intel_lp64", "_def")]
        missing = [part.name for part in parts if not part.is_file()]
        yield "mkl", str(mkl), f"{', '.join(missing)} missing; reinstall mkl" if missing else ""
    if nvpl := _installed("nvpl-blas", "libnvpl_blas_lp64_gomp.so.*"):
        # The threaded NVPL ends the process if libgomp is missing, or if the CPU is older than Armv8.1.
        if not _opens(RUNTIMES["GNU"]):
            nvpl = nvpl.with_name(nvpl.name.replace("gomp", "seq"))
        atomics = ctypes.CDLL(None).getauxval(AT_HWCAP) & HWCAP_ATOMICS
        yield "nvpl", str(nvpl), "" if atomics else "this CPU is older than Armv8.1"
    if soname := next((name for name in OPENBLAS if _opens(name)), None):
        # A torch that is imported later would bind to OpenBLAS. OpenBLAS returns complex dot products in another way
        # than the MKL in torch's x86-64 wheels, so torch.vdot would be wrong without an error. A torch that was
        # imported earlier is bound to its own MKL.
        bound = "torch" in sys.modules or importlib.util.find_spec("torch") is None
        clash = platform.machine() == "x86_64" and not bound
        yield "openblas", soname, f"import torch before zvae_tiled, or {INSTALL}" if clash else ""


def _installed(distribution: str, pattern: str) -> Path | None:
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())).resolve() for file in files if fnmatch(file.name, pattern))
    return next((path for path in paths if path.is_file()), None)


def _load(path: str) -> str:
    """Make a library's symbols visible to the whole process. Return details for `BlasStatus.reason`."""
    library = ctypes.CDLL(path)  # not global at first: an unusable library must not affect others
    if not _has(library, SYMBOL):
        raise _UnusableError(f"It can be opened, but exports no {SYMBOL}.")
    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    if _address(ctypes.CDLL(None)) != _address(library):
        raise _UnusableError(f"Another library's {SYMBOL} was loaded before, and MLX would use that one.")
    return _configure_mkl(library, Path(path).parent) if _has(library, *MKL_SETTERS) else ""


def _configure_mkl(library: ctypes.CDLL, folder: Path) -> str:
    """Configure MKL by its functions: environment variables would affect torch and child processes too."""
    library.MKL_Set_Interface_Layer(MKL_LP64)  # MLX passes 32-bit sizes, so MKL_INTERFACE_LAYER is ignored
    # GNU first: torch loads libgomp, and the INTEL layer after it computed wrong products. A layer whose run-time
    # library cannot be opened would end the process at the first product.
    preferred = os.environ.get("MKL_THREADING_LAYER", "").upper()
    unfit = "INTEL" if _has(ctypes.CDLL(None), "GOMP_parallel") else None
    order = [each for each in (preferred, "GNU", "INTEL", "SEQUENTIAL") if each in MKL_LAYERS and each != unfit]
    layer = next(each for each in order if each == "SEQUENTIAL" or _opens(RUNTIMES[each], folder))
    library.MKL_Set_Threading_Layer(MKL_LAYERS[layer])
    if "MKL_CBWR" in os.environ:
        return f", {layer} threads, MKL_CBWR={os.environ['MKL_CBWR']}"
    # Strict: the same bits for any alignment and thread count. MKL refuses these branches on processors of other
    # manufacturers, where its default varies less anyway (docs/blas.md).
    for branch, number in MKL_BRANCHES.items():
        if library.MKL_CBWR_Set(number | MKL_STRICT) == 0:
            return f", {layer} threads, {branch},STRICT"
    return f", {layer} threads"


def _opens(soname: str, folder: Path | None = None) -> bool:
    if soname in RUNTIMES.values():
        # OpenMP reads it when it is loaded. Spinning threads made small products 20 times slower on a shared machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for candidate in (soname, *([str(folder / soname)] if folder else [])):
        with contextlib.suppress(OSError):
            ctypes.CDLL(candidate)
            return True
    return False


def _has(library: ctypes.CDLL, *symbols: str) -> bool:
    return all(hasattr(library, symbol) for symbol in symbols)


def _address(library: ctypes.CDLL) -> int | None:
    return ctypes.cast(library[SYMBOL], ctypes.c_void_p).value
