"""Give MLX a fast BLAS on Linux, by loading one before ``mlx.core`` is imported.

MLX's Linux wheels carry the reference BLAS: correct, one thread, and 30 times or more below the machine.
The dynamic linker takes the first ``cblas_sgemm`` that is visible to the whole process, so a better library
loaded in time, with ``RTLD_GLOBAL``, serves every float32 matrix product and convolution on the CPU.

The variable ``ZVAE_BLAS`` decides: ``auto`` (default), ``off``, or a library to load. See docs/blas.md.
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
"""Sonames of a system's OpenBLAS: Fedora's threaded one first, then the name Debian and conda use."""

MKL_LAYERS = {"INTEL": 0, "SEQUENTIAL": 1, "GNU": 3, "TBB": 4}
RUNTIMES = {"INTEL": "libiomp5.so", "GNU": "libgomp.so.1", "TBB": "libtbb.so.12"}
"""MKL's threading layers: the number of each in MKL's header, and the library it opens at the first call."""

MKL_SETTERS = ("MKL_Set_Interface_Layer", "MKL_Set_Threading_Layer", "MKL_CBWR_Set")
MKL_LP64, MKL_STRICT, MKL_BRANCHES = 0, 0x10000, {"AVX512": 12, "AVX2": 10}

AT_HWCAP, HWCAP_ATOMICS = 16, 1 << 8
"""The question to the kernel, and the bit of its answer that says an Arm core has the Armv8.1 atomics."""


@dataclass(frozen=True)
class BlasStatus:
    """Which BLAS the CPU uses, and why.

    Attributes:
        name: ``mkl``, ``nvpl``, ``openblas``, ``custom`` (named in ``ZVAE_BLAS``), ``external`` (there before
            us) or ``builtin`` (the one MLX came with).
        path: What was loaded: a file, or the soname the linker resolved; None if nothing was.
        active: Whether a BLAS other than the built-in one serves MLX.
        reason: One sentence: what happened, and what to do if it is not what you want.
    """

    name: str
    path: str | None
    active: bool
    reason: str


def _none(reason: str) -> BlasStatus:
    return BlasStatus("builtin", None, False, reason)


class _UnusableError(Exception):
    """A library opened, but cannot serve MLX."""


@functools.cache
def preload() -> BlasStatus:
    """Load a fast BLAS if one is there, before anything imports ``mlx.core``; the first call decides.

    Returns:
        What was loaded, or why nothing was.

    Raises:
        BlasError: ``ZVAE_BLAS`` names a library that cannot be used. Nothing else raises.
    """
    setting = os.environ.get(VARIABLE, "").strip() or "auto"
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
    except Exception as error:  # an import must not fail for want of speed, whatever the environment
        return _none(f"looking for a fast BLAS failed ({type(error).__name__}: {error})")


def _named(setting: str) -> BlasStatus:
    path = os.path.expanduser(setting)
    try:
        detail = _load(path)
    except (OSError, _UnusableError) as error:
        raise BlasError(
            f"{VARIABLE} must be auto, off or a library with {SYMBOL}: {setting!r} was given.\n{error}",
            f"Give the full path of an LP64 BLAS, or unset {VARIABLE} and run: {INSTALL}",
        ) from error
    return BlasStatus("custom", path, True, f"named in {VARIABLE}{detail}")


def _automatic() -> BlasStatus:
    if _has(ctypes.CDLL(None), SYMBOL):
        return BlasStatus("external", None, True, f"{SYMBOL} was visible to the process already; left alone")
    skipped = []
    for name, path, hindrance in _candidates():
        if not hindrance:
            try:
                return BlasStatus(name, path, True, f"loaded before mlx.core{_load(path)}")
            except (OSError, _UnusableError) as error:
                hindrance = str(error)
        skipped.append(f"{path} was not used: {hindrance}")
    return _none("; ".join(skipped) or f"no fast BLAS is installed, and MLX's own is 30 times slower; {INSTALL}")


def _candidates() -> Iterator[tuple[str, str, str]]:
    """Yield name, library and what hinders its use, if anything; the best first, the others unopened."""
    if mkl := _installed("mkl", "libmkl_rt.so.*"):
        # MKL ends the process when a part is missing at the first call: look for the parts before that.
        parts = [mkl.with_name(mkl.name.replace("_rt", part)) for part in ("_core", "_intel_lp64", "_def")]
        missing = [part.name for part in parts if not part.is_file()]
        yield "mkl", str(mkl), f"{', '.join(missing)} missing; reinstall mkl" if missing else ""
    if nvpl := _installed("nvpl-blas", "libnvpl_blas_lp64_gomp.so.*"):
        # The threaded NVPL ends the process where libgomp is missing, and on cores older than Armv8.1.
        if not _opens(RUNTIMES["GNU"]):
            nvpl = nvpl.with_name(nvpl.name.replace("gomp", "seq"))
        atomics = ctypes.CDLL(None).getauxval(AT_HWCAP) & HWCAP_ATOMICS
        yield "nvpl", str(nvpl), "" if atomics else "this CPU is older than Armv8.1"
    if soname := next((name for name in OPENBLAS if _opens(name)), None):
        # A torch imported later would bind to OpenBLAS, which returns complex dot products otherwise than the
        # MKL in torch's x86-64 wheels: torch.vdot goes wrong in silence. Imported earlier, it is bound.
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
    """Make one library's symbols visible to the whole process; return details for the status."""
    library = ctypes.CDLL(path)  # for itself alone at first: a useless library must not disturb others
    if not _has(library, SYMBOL):
        raise _UnusableError(f"It opens, but exports no {SYMBOL}.")
    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    if _address(ctypes.CDLL(None)) != _address(library):
        raise _UnusableError(f"Another library's {SYMBOL} was there first, and MLX would use that one.")
    return _configure_mkl(library, Path(path).parent) if _has(library, *MKL_SETTERS) else ""


def _configure_mkl(library: ctypes.CDLL, folder: Path) -> str:
    """Set MKL up, by its functions where it has them: variables would reach torch and child processes."""
    library.MKL_Set_Interface_Layer(MKL_LP64)  # MLX passes 32-bit sizes, whatever MKL_INTERFACE_LAYER says
    # GNU first: torch brings libgomp, and INTEL after it gave wrong products. A layer whose run-time library
    # does not open would end the process at the first product.
    wanted = os.environ.get("MKL_THREADING_LAYER", "").upper()
    unfit = "INTEL" if _has(ctypes.CDLL(None), "GOMP_parallel") else None
    order = [each for each in (wanted, "GNU", "INTEL", "SEQUENTIAL") if each in MKL_LAYERS and each != unfit]
    layer = next(each for each in order if each == "SEQUENTIAL" or _opens(RUNTIMES[each], folder))
    library.MKL_Set_Threading_Layer(MKL_LAYERS[layer])
    if "MKL_CBWR" in os.environ:
        return f", {layer} threads, MKL_CBWR={os.environ['MKL_CBWR']}"
    # Strict: the same bits for any alignment and thread count. MKL refuses these branches on other makers'
    # processors, where its default is the steadier choice anyway (docs/blas.md).
    for branch, number in MKL_BRANCHES.items():
        if library.MKL_CBWR_Set(number | MKL_STRICT) == 0:
            return f", {layer} threads, {branch},STRICT"
    return f", {layer} threads"


def _opens(soname: str, folder: Path | None = None) -> bool:
    if soname in RUNTIMES.values():
        # Read when OpenMP opens. Spinning threads made small products 20 times slower on a shared machine.
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
