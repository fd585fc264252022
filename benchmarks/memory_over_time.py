"""Draws measured memory over time, for the full decode and plans that keep, spill and drop: ``docs/memory.svg``.

``python -m benchmarks.memory_over_time`` decodes 1024² in bfloat16, with a decoder of a quarter of Z-Image's width.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from tests.support.models import whole_decode
from zvae_tiled import Plan
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.counted import active_memory
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.families.autoencoder_kl import PRESETS
from zvae_tiled.planner.budget import Available, parse_budget
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.make import make_plan
from zvae_tiled.planner.quality import Exact
from zvae_tiled.report.chart import line_chart
from zvae_tiled.report.figures import random_vae

import mlx.core as mx  # isort: skip, after zvae_tiled: it loads the BLAS

PIXELS = 1024
CONFIG = replace(PRESETS["z-image"], block_out_channels=(32, 64, 128, 128))
EVERY = 0.005


def main() -> None:
    """Draw the chart, and print its figures."""
    vae = random_vae(CONFIG, "bfloat16")
    latents = np.random.default_rng(0).standard_normal((1, 16, PIXELS // 8, PIXELS // 8)).astype(np.float32)
    ready = mx.array(latents.transpose(0, 2, 3, 1)).astype(mx.bfloat16)
    works: dict[str, Callable[[], object]] = {"full decode": lambda: whole_decode(vae, ready)}
    for name, plan in plans(vae.weight_bytes).items():
        works[f"{name}: {plan.extra_flops:.0%} recomputed"] = lambda plan=plan: vae.decode(latents, plan=plan)  # type: ignore[misc]
    lines = {name: watched(work) for name, work in works.items()}
    print(describe())
    for name, line in lines.items():
        print(f"{name:<32} {line[-1][0]:6.1f} s  peak {max(y for _, y in line):8,.0f} MB")
    chart = line_chart(f"Memory while decoding {PIXELS}², quarter width, bfloat16", "seconds", "MB", lines)
    (Path(__file__).parent.parent / "docs" / "memory.svg").write_text(chart)


def plans(weights: int) -> dict[str, Plan]:
    """Return a plan that keeps all maps, one that spills (with a fast disk), and one that drops (with a slow disk)."""
    side = PIXELS // 8

    def make(device: Device, budget: int) -> Plan:
        limit = parse_budget(f"{budget}B", Available(0))
        return make_plan(Case(CONFIG, side, side, device.name), Exact(), limit, device, weights)

    keep = make(CPU, 1 << 40)
    tight = keep.predicted_peak // 2
    return {"keep": keep, "spill": make(replace(CPU, disk=1e12), tight), "drop": make(replace(CPU, disk=1.0), tight)}


def watched(work: Callable[[], object]) -> list[tuple[float, float]]:
    """Return points of seconds and MB of arrays while `work` runs."""
    line: list[tuple[float, float]] = []
    done = threading.Event()
    start = time.perf_counter()

    def watch() -> None:
        while not done.wait(EVERY):
            line.append((time.perf_counter() - start, active_memory() / 1e6))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        mx.eval(work())
    finally:
        done.set()
        watcher.join()
    mx.clear_cache()
    step = max(1, len(line) // 1200)
    # The highest point of each stretch, because a chart of memory must not lose its peaks.
    return [max(line[i : i + step], key=lambda point: point[1]) for i in range(0, len(line), step)]


if __name__ == "__main__":
    main()
