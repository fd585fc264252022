"""Measures how fast MLX multiplies and convolves on the CPU, without and with the BLAS that `devices/blas.py` loads.

Run: ``python benchmarks/blas.py``. Each mode runs in its own process, because a process keeps the library that it
loads first. Set ``OMP_NUM_THREADS`` to compare thread counts.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

MODES = ("off", "auto")

# Rows, width, input and output channels of 3×3 convolutions that occur in a decoder.
CONVOLUTIONS = (
    (1, 512, 512, 512),
    (1, 1024, 256, 256),
    (1, 1024, 128, 128),
    (1, 1024, 128, 3),
    (8, 256, 256, 256),
)
PRODUCTS = ((1024, 1024, 1024), (1024, 512, 2048))


def measure(work: Callable[[], Any], operations: float) -> float:
    """Return the best GFLOP/s of up to 30 runs, or of those that fit in a second."""
    work()
    best, spent = float("inf"), 0.0
    for _ in range(30):
        start = time.perf_counter()
        work()
        taken = time.perf_counter() - start
        best, spent = min(best, taken), spent + taken
        if spent > 1:
            break
    return operations / best / 1e9


def run_mode() -> None:
    """Measure every shape in this process, and print the figures as JSON."""
    from zvae_tiled.devices import blas

    status = blas.preload()
    import mlx.core as mx

    mx.set_default_device(mx.cpu)

    def speed(function: Any, shapes: tuple[tuple[int, ...], ...], dtype: Any, operations: float) -> float:
        operands = [mx.random.normal(shape).astype(dtype) for shape in shapes]
        mx.eval(*operands)
        return measure(lambda: mx.eval(function(*operands)), operations)

    speeds = {}
    for m, k, n in PRODUCTS:
        name = f"matmul {m}x{k} by {k}x{n}, float32"
        speeds[name] = speed(mx.matmul, ((m, k), (k, n)), mx.float32, 2.0 * m * k * n)
    for rows, width, inputs, outputs in CONVOLUTIONS:
        shapes = ((1, rows + 2, width + 2, inputs), (outputs, 3, 3, inputs))
        for kind in ("float32", "bfloat16"):
            name = f"conv2d {rows}x{width}, {inputs} to {outputs} channels, {kind}"
            operations = 18.0 * rows * width * inputs * outputs
            speeds[name] = speed(mx.conv2d, shapes, getattr(mx, kind), operations)
    print(json.dumps({"name": status.name, "reason": status.reason, "speeds": speeds}))


def in_a_child(mode: str) -> Any:
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, __file__, "--here"],
        env={**os.environ, "ZVAE_BLAS": mode, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()} {platform.machine()}"


def versions() -> str:
    packages = [f"Python {platform.python_version()}"]
    for name in ("mlx", "mlx-cpu", "mkl", "nvpl-blas"):
        try:
            packages.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(packages)


def main() -> None:
    off, auto = (in_a_child(mode) for mode in MODES)
    print(f"{datetime.date.today().isoformat()}; {machine()}; {versions()}")
    print(f"auto: {auto['name']} ({auto['reason']})\n")
    print("| GFLOP/s | off | auto | ratio |")
    print("|---|---:|---:|---:|")
    for shape, slow in off["speeds"].items():
        fast = auto["speeds"][shape]
        print(f"| {shape} | {slow:.1f} | {fast:.1f} | {fast / slow:.0f} |")


if __name__ == "__main__":
    if sys.argv[1:] == ["--here"]:
        run_mode()
    else:
        main()
