"""Dry runs of plans, beside what the plans predict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.dry import DryKernels, Ledger, Shape
from tests.support.plans import exact_plan, random_config
from zvae_tiled import VAE, Plan
from zvae_tiled.chain import Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.devices.here import kernels_for
from zvae_tiled.devices.kernels import ALIKE
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import Task, VAEConfig
from zvae_tiled.planner.case import ITEMSIZES, Case
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.planner.quality import Whole

LITTLE = 32 << 10
"""Bytes of single numbers and folded norms, which no model counts one by one (SMALL_CHANGE covers them)."""


def native(threads: int, pixels: int, outputs: int, lanes: int, depth: int, number: int) -> Device:
    """A CPU with a path of this shape, which need not be built here; its other numbers are those of every path."""
    shape = (threads, pixels, outputs, lanes, depth, number)
    space = NativeWorkspace(
        *shape,
        tile_rows=64,
        queries=64,
        panel_rows=32 if depth > 2 else 6,
        panel=4 * lanes if pixels == 14 else 2 * lanes,
        softmax_keys=256,
        small=0 if depth > 2 else number,  # AMX has no squares
        blocks=4,
    )
    return replace(CPU, workspace=space)


CPUS = (
    CPU,
    *(native(*shape) for shape in [(1, 14, 32, 16, 1, 4), (7, 6, 16, 8, 1, 4)]),
    *(native(*shape) for shape in [(2, 14, 32, 16, 2, 2), (64, 32, 32, 16, 32, 2)]),
)
"""The CPU with MLX's kernels, and with native kernels of different CPUs."""


class Counting(DryKernels):
    """A dry run that notes the most bytes between two folded norms, and how often each row was computed.

    It refuses rows that begin inside a grain, and so rows that end inside one, except at the end of the map.
    """

    def __init__(self, device: Device, itemsize: int) -> None:
        super().__init__(device.workspace, itemsize, Ledger())
        self.peaks: list[int] = []
        self.rows_of: Counter[str] = Counter()
        self._done: Counter[str] = Counter()  # rows of each Step's result in this sweep, as `conv` counts them

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> tuple[Any, Any, Any]:
        self.note()
        return super().affine(scale, shift, mean)

    def note(self) -> None:
        self.peaks.append(self.ledger.peak)
        self.ledger.peak = 0  # maps of the sweep before are not freed yet

    def prepare(self, step: Step, weights: Any) -> Shape:
        self._done[step.name] = 0
        return super().prepare(step, weights)

    def conv(self, step: Step, weights: Any, pieces: list[Shape], skip: Any) -> Shape:
        assert self._done[step.name] % self.grain(step) == 0, "rows begin inside a grain"
        self._done[step.name] += step.gives(self.count(pieces))
        out = super().conv(step, weights, pieces, skip)
        self.rows_of[step.name] += out.rows
        assert skip is None or sum(stop - start for _, start, stop in skip) == out.rows
        return out

    def to_mlx(self, x: Shape) -> Shape:
        return x

    def attend(self, step: Step, weights: Any, x: Shape, affine: Any, blocks: Any, gains: Any = ALIKE) -> Shape:
        self.rows_of[step.name] += x.rows
        return super().attend(step, weights, x, affine, blocks, gains)

    def keys(self, step: Step, weights: Any, x: Shape, affine: Any) -> Shape:
        self.rows_of["keys"] += x.rows
        return super().keys(step, weights, x, affine)


def norms_of(plan: Plan) -> dict[str, np.ndarray]:
    normed = [(step.norm, step.inputs) for step in plan.case.chain.steps if step.norm]
    return {f"{norm.name}.{part}": np.ones(channels) for norm, channels in normed for part in norm.parts}


def dry(plan: Plan, device: Device = CPU) -> Counting:
    """Run a plan on shapes."""
    case, chain, itemsize = plan.case, plan.case.chain, plan.case.itemsize
    kernels, weights = Counting(device, itemsize), Nothing()
    factor, channels = chain.factors[0], chain.channels[0]
    given = [Shape(kernels.ledger, case.height * factor, case.width * factor, channels, itemsize)]
    rows = 0
    for band in Run(chain, plan.pixels, kernels, weights, norms_of(plan), SpillFile(Path("/tmp"))).rows(given.pop()):
        rows += band.rows
        del band
    kernels.note()
    assert rows == case.height * chain.factors[-1]
    assert kernels.ledger.live == 0, "something is never freed"
    return kernels


class Nothing(dict[str, Any]):
    """Weights without values."""

    def __missing__(self, name: str) -> None:
        return None


def predicted(plan: Plan) -> list[int]:
    """The plan's predictions for the same stretches. Sweeps that gather keys are one stretch with the next sweep."""
    stretches, most = [], 0
    for sweep in plan.sweeps:
        most = max(most, sweep.peak - plan.pixels.base)
        if sweep.ends in ("moments", "pixels"):
            stretches.append(most)
            most = 0
    return stretches


def planned(
    config: VAEConfig,
    height: int,
    width: int,
    dtype: str,
    share: float,
    task: Task = "decode",
    device: Device = CPU,
    quality: Whole | None = None,
) -> Plan:
    """A plan for a budget between the smallest that works (share 0) and one that keeps every map (share 1)."""

    case = Case(config, height, width, device.name, dtype, output="rows", task=task)

    def make(size: int) -> Plan:
        return exact_plan(case, size, device, weights=0, quality=quality)

    with pytest.raises(BudgetError) as error:
        make(1)
    least, most = error.value.needed - PROCESS, make(1 << 60).predicted_peak - PROCESS
    return make(PROCESS + int(least * (most / least) ** share))


def check_predictions(
    task: Task, seeds: list[int], devices: Sequence[Device] = CPUS, bands: Sequence[int] = (1, 2, 5, 16, 64)
) -> float:
    """Compare plan and dry run, sweep by sweep. Return the median of the ratio predicted / counted."""
    ratios = []
    for seed in seeds:
        rng = Random(seed)
        device = replace(rng.choice(devices), band_rows=rng.choice(bands))
        config = random_config(rng)
        longest = 40 if task == "decode" else 160 // config.scale + 1
        size = (rng.randint(1, longest), rng.randint(1, longest))
        share = rng.choice([0, 1, rng.random(), rng.random()])
        plan = planned(config, *size, rng.choice(sorted(ITEMSIZES)), share, task, device)
        counted, foreseen = dry(plan, device).peaks, predicted(plan)
        assert len(counted) == len(foreseen)
        for stretch, (real, model) in enumerate(zip(counted, foreseen, strict=True)):
            assert real <= model, f"seed {seed}, norm {stretch}: {real:,} bytes, predicted {model:,}\n{plan}"
        ratios.append(max(foreseen) / max(counted))
    return median(ratios)


def allocated(vae: VAE, plan: Plan, device: Device, folder: Path) -> int:
    """Return the allocator's peak of the same run."""
    chain, factor = plan.case.chain, plan.case.chain.factors[0]
    shape = (1, plan.case.height * factor, plan.case.width * factor, chain.channels[0])
    ready = [mx.random.normal(shape, key=mx.random.key(0)).astype(vae.dtype)]
    mx.eval(ready)
    kernels, weights = kernels_for(device, vae.dtype), vae.weights
    before = active_memory() - ready[0].nbytes
    reset_peak()
    for rows in Run(chain, plan.pixels, kernels, weights, norms_of(plan), SpillFile(folder)).rows(ready.pop()):
        del rows
    return peak_memory() - before
