"""The dry run stands between plan and decode: predicted >= counted, and the allocator takes what was counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.support.dry import DryKernels, Ledger, Shape
from tests.support.models import save_random
from tests.support.plans import TASKS, exact_plan, random_config, random_plan
from tests.support.samples import Seeds, sampled
from tests.support.toys import LongSkip, PixelNorms
from zvae_tiled import VAE, Plan
from zvae_tiled.chain import Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.here import kernels_for
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.devices.native_cpu.memory import NativeWorkspace
from zvae_tiled.engine.run import Run
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import Task, VAEConfig, config_of
from zvae_tiled.planner.case import ITEMSIZES, Case
from zvae_tiled.planner.ends import PROCESS

LITTLE = 32 << 10
"""Bytes of single numbers and folded norms, which no model counts one by one (SMALL_CHANGE covers them)."""


def native(threads: int, pixels: int, outputs: int, lanes: int, depth: int, number: int) -> Device:
    """A CPU with a path of this shape, which need not be built here; its other numbers are those of every path."""
    shape = (threads, pixels, outputs, lanes, depth, number)
    space = NativeWorkspace(
        *shape,
        tile_rows=64,
        planes=4,
        paired=4,
        folded=3,
        queries=64,
        panel_rows=32 if depth > 2 else 6,
        panel=4 * lanes if pixels == 14 else 2 * lanes,
        softmax_keys=256,
    )
    return replace(CPU, workspace=space)


CPUS = (
    CPU,
    *(native(*shape) for shape in [(1, 14, 32, 16, 1, 4), (7, 6, 16, 8, 1, 4)]),
    *(native(*shape) for shape in [(2, 14, 32, 16, 2, 2), (64, 32, 32, 16, 32, 2)]),
)
"""The CPU with MLX's kernels, and with native kernels of different CPUs."""


class Counting(DryKernels):
    """A dry run that notes the most bytes between two folded norms, and how often each row was computed."""

    def __init__(self, device: Device, itemsize: int) -> None:
        super().__init__(device.workspace, itemsize, Ledger())
        self.peaks: list[int] = []
        self.rows_of: Counter[str] = Counter()

    def affine(self, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray | float = 0.0) -> tuple[Any, Any, Any]:
        self.note()
        return super().affine(scale, shift, mean)

    def note(self) -> None:
        self.peaks.append(self.ledger.peak)
        self.ledger.peak = 0  # maps of the sweep before are not freed yet

    def conv(self, step: Step, weights: Any, pieces: list[Shape], skip: Shape | None) -> Shape:
        out = super().conv(step, weights, pieces, skip)
        self.rows_of[step.name] += out.rows
        assert skip is None or skip.rows == out.rows
        return out

    def attend(self, step: Step, weights: Any, x: Shape, affine: Any, blocks: Any) -> Shape:
        self.rows_of[step.name] += x.rows
        return super().attend(step, weights, x, affine, blocks)

    def keys(self, step: Step, weights: Any, x: Shape, affine: Any) -> Shape:
        self.rows_of["keys"] += x.rows
        return super().keys(step, weights, x, affine)


def norms_of(plan: Plan) -> dict[str, np.ndarray]:
    normed = [(step.norm, step.inputs) for step in plan.case.chain.steps if step.norm]
    return {f"{norm.name}.{part}": np.ones(channels) for norm, channels in normed for part in norm.parts}


def dry(plan: Plan, device: Device = CPU) -> Counting:
    """Run a plan on shapes."""
    case, chain, itemsize = plan.case, plan.case.chain, plan.case.itemsize
    kernels, weights = Counting(device, itemsize), _Nothing()
    factor, channels = chain.factors[0], chain.channels[0]
    given = [Shape(kernels.ledger, case.height * factor, case.width * factor, channels, itemsize)]
    rows = 0
    for band in Run(chain, plan.pixels, kernels, weights, norms_of(plan), Path("/tmp")).rows(given.pop()):
        rows += band.rows
        del band
    kernels.note()
    assert rows == case.height * chain.factors[-1]
    assert kernels.ledger.live == 0, "something is never freed"
    return kernels


class _Nothing(dict[str, Any]):
    """Weights without values."""

    def __missing__(self, name: str) -> None:
        return None


def predicted(plan: Plan) -> list[int]:
    """The plan's predictions for the same stretches. A sweep that gathers keys is one stretch with the next sweep."""
    stretches, most = [], 0
    for sweep in plan.sweeps:
        most = max(most, sweep.peak - plan.pixels.base)
        if sweep.ends != "keys":
            stretches.append(most)
            most = 0
    return stretches


def planned(
    config: VAEConfig, height: int, width: int, dtype: str, share: float, task: Task = "decode", device: Device = CPU
) -> Plan:
    """A plan for a budget between the smallest that works (share 0) and one that keeps every map (share 1)."""

    case = Case(config, height, width, device.name, dtype, output="rows", task=task)

    def make(size: int) -> Plan:
        return exact_plan(case, size, device, weights=0)

    with pytest.raises(BudgetError) as error:
        make(1)
    least, most = error.value.needed - PROCESS, make(1 << 60).predicted_peak - PROCESS
    return make(PROCESS + int(least * (most / least) ** share))


def check_predictions(task: Task, seeds: list[int]) -> float:
    """Compare plan and dry run, sweep by sweep. Return the median of the ratio predicted / counted."""
    ratios = []
    for seed in seeds:
        rng = Random(seed)
        device = replace(rng.choice(CPUS), band_rows=rng.choice([1, 2, 5, 16, 16]))
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


@pytest.mark.parametrize("plans", [20, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", TASKS)
def test_every_sweep_is_predicted_high_enough_and_not_by_far(task: Task, plans: int, seeds: Seeds) -> None:
    assert check_predictions(task, seeds(plans)) < 1.15


@pytest.mark.parametrize("path", [(16, 14, 32, 16, 1, 4), (32, 14, 32, 16, 2, 2), (64, 32, 32, 16, 32, 2)])
@pytest.mark.parametrize("task", TASKS)
def test_wide_maps_on_many_threads_are_predicted_high_enough(
    task: Task, path: tuple[int, int, int, int, int, int]
) -> None:
    device, rng = native(*path), Random(path[0])
    for width in (256, 512):
        height, share = rng.randint(24, 80), rng.choice([0, rng.random()])
        plan = planned(config_of("sdxl"), height, width, "bfloat16", share, task, device)
        for stretch, (real, model) in enumerate(zip(dry(plan, device).peaks, predicted(plan), strict=True)):
            assert real <= model, f"{height}x{width}, norm {stretch}: {real:,} bytes, predicted {model:,}\n{plan}"


def test_rows_written_before_the_first_strip_is_freed_are_predicted() -> None:
    device = native(2, 32, 32, 16, 32, 2)
    plan = planned(config_of("sdxl"), 17, 48, "bfloat16", 0, "decode", device)
    assert any(sweep.rows < device.band_rows and sweep.medium == "ram" for sweep in plan.sweeps)
    assert all(real <= model for real, model in zip(dry(plan, device).peaks, predicted(plan), strict=True))


@pytest.mark.parametrize(("preset", "dtype"), [("z-image", "bfloat16"), ("sdxl", "float32")])
@pytest.mark.parametrize("share", [0, 0.3, 1])
@pytest.mark.parametrize("task", TASKS)
def test_the_published_models_are_predicted_to_10_percent(task: Task, preset: str, dtype: str, share: float) -> None:
    plan = planned(config_of(preset), 64, 48, dtype, share, task)
    counted, foreseen = dry(plan).peaks, predicted(plan)
    assert all(real <= model for real, model in zip(counted, foreseen, strict=True))
    assert max(foreseen) <= 1.1 * max(counted)


@pytest.mark.parametrize("task", TASKS)
def test_every_row_is_computed_once_a_sweep(task: Task) -> None:
    for seed in range(10):
        rng = Random(seed)
        config, dtype = random_config(rng), rng.choice(sorted(ITEMSIZES))
        height, width = rng.randint(1, 30), rng.randint(1, 8)
        for plan in (
            random_plan(config, height, width, dtype, rng, task=task),  # bands of any height
            planned(config, height, width, dtype, rng.random(), task),
        ):
            rows = dry(plan).rows_of
            for cut, step in enumerate(plan.case.chain.steps):
                passes = sum(sweep.start <= cut < sweep.stop for sweep in plan.sweeps)
                assert rows[step.name] == passes * height * plan.case.chain.factors[cut + 1]
            assert rows["keys"] == height * config.mid_block_add_attention


@pytest.mark.parametrize(
    ("kernels", "task", "dtype", "share", "attention"),
    sampled(11, ["mlx", "auto"], TASKS, sorted(ITEMSIZES), [0, 0.4, 1], [False, True]),
)
def test_the_allocator_agrees_with_the_dry_run(
    task: Task, dtype: str, share: float, attention: bool, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    rng, device = Random(f"{dtype} {share} {attention}"), cpu_device(dtype == "bfloat16")
    config = replace(random_config(rng, narrowest=6), mid_block_add_attention=attention)
    if attention:  # a block of keys has 2,048 pixels, and the plan predicts a full block for smaller maps too
        config = replace(
            config, block_out_channels=config.block_out_channels[:1], down_block_types=(), up_block_types=()
        )
    height, width = (rng.randint(46, 60) if attention else rng.randint(20, 40) for _ in range(2))
    plan = planned(config, height, width, dtype, share, task, device)
    vae = VAE.load(save_random(config, tmp_path / "vae.safetensors"), dtype, task == "decode", config)
    counted, real = max(dry(plan, device).peaks), allocated(vae, plan, device, tmp_path)
    assert abs(counted - real) <= 0.04 * real + LITTLE, f"{counted:,} counted, {real:,} allocated\n{plan}"


def allocated(vae: VAE, plan: Plan, device: Device, folder: Path) -> int:
    """Return the allocator's peak of the same run."""
    chain, factor = plan.case.chain, plan.case.chain.factors[0]
    shape = (1, plan.case.height * factor, plan.case.width * factor, chain.channels[0])
    ready = [mx.random.normal(shape, key=mx.random.key(0)).astype(vae.dtype)]
    mx.eval(ready)
    kernels, weights = kernels_for(device, vae.dtype), vae.weights
    before = mx.get_active_memory() - ready[0].nbytes
    mx.reset_peak_memory()
    for rows in Run(chain, plan.pixels, kernels, weights, norms_of(plan), folder).rows(ready.pop()):
        del rows
    return mx.get_peak_memory() - before


@pytest.mark.parametrize("config", [LongSkip(), PixelNorms()], ids=lambda config: config.class_name)
@pytest.mark.parametrize("device", CPUS, ids=range(len(CPUS)))
def test_chains_of_no_family_are_predicted(device: Device, config: VAEConfig) -> None:
    for height, share in ((1, 0), (9, 0), (40, 0), (40, 0.5), (40, 1)):
        plan = planned(config, height, 11, "bfloat16", share, "decode", device)
        real, model = max(dry(plan, device).peaks), max(predicted(plan))  # RMS norms are folded at any time
        assert real <= model, f"{height}: {real:,} bytes, predicted {model:,}\n{plan}"
