"""Where figures come from: machine, versions, date."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

from zvae_tiled.blas import preload


def describe() -> str:
    """Return one line on this machine, the versions, and the day."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mlx", "numpy"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"{day}: {_processor()}, {cores} cores, {platform.system()} {platform.machine()}; "
        f"Python {platform.python_version()}, {versions}, BLAS {preload().name}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
