"""Describes where a figure comes from: machine, versions and day, but nothing that identifies the owner."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from zvae_tiled._version import __version__
from zvae_tiled.devices.blas import preload
from zvae_tiled.devices.native_cpu.choice import native_status

PACKAGES = ("mlx", "mlx-cpu", "mlx-metal", "mlx-cuda-13", "mlx-cuda-12", "numpy", "mkl", "torch", "diffusers", "mflux")
"""Packages whose versions affect figures. Only installed ones are recorded."""


def environment(device: str) -> dict[str, Any]:
    """Return everything that a figure depends on, other than the case.

    Args:
        device: ``cpu``, ``metal`` or ``cuda``.
    """
    return {
        "version": __version__,
        "versions": {"python": platform.python_version(), **_versions()},
        "blas": preload().name,
        "device": device,
        "kernels": native_status().path if device == "cpu" else "mlx",
        "processor": processor(),
        "cores": cores(),
        "threads": _threads(),
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "day": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads() -> int:
    """Return the threads of OpenMP. The variable may have a number for each level, or anything else."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else cores()


def processor() -> str:
    """Return the manufacturer's name of the processor."""
    if sys.platform == "darwin":
        sysctl = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return sysctl.stdout.strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
