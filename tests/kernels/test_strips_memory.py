"""Memory of the GPUs' kernels, measured on MLX's CPU backend against its Workspace; and a whole decode with them."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.kernels.cases import (
    NORM,
    NORMED,
    PIXELS,
    PROJECTION,
    READS,
    RELUS,
    SHORTCUT,
    STEPS,
    random,
    reading,
    sized,
    weights_of,
    wide,
)
from tests.support.models import narrow, random_vae
from tests.support.plans import exact_plan
from zvae_tiled import VAE, Plan
from zvae_tiled.chain import Skip, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.mlx_gpu import memory as workspace_gpu
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.mlx_gpu.memory import Im2colWorkspace, MetalWorkspace
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.families import Task
from zvae_tiled.planner.case import Case
from zvae_tiled.planner.ends import PROCESS

pytestmark = pytest.mark.bytes

on_cpu = pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="the model measured here is the CPU's")


@pytest.fixture(autouse=True, scope="module")
def _uncached() -> Iterator[None]:
    """A buffer from the cache may be larger than requested."""
    limit = mx.set_cache_limit(0)
    yield
    mx.set_cache_limit(limit)


def peak(run: Callable[[], object]) -> int:
    gc.collect()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    run()
    return mx.get_peak_memory() - before


def test_span_joins_in_place_and_lets_go_of_the_rest() -> None:
    kernels, rng = StripKernels(mx.float32), np.random.default_rng(0)
    pieces = [random((1, rows, 64, 32), mx.float32, rng) for rows in (2, 5, 1)]
    whole = np.concatenate([wide(piece) for piece in pieces], axis=1)
    gc.collect()
    before = mx.get_active_memory()
    first = kernels.span(pieces, 0, 6)
    assert (len(pieces), mx.get_active_memory() - before) == (1, 0)
    assert (kernels.count(first), kernels.count(pieces)) == (6, 8)
    assert (wide(first[0]) == whole[:, :6]).all()
    rest = kernels.span(pieces, 5, 8)
    assert (wide(rest[0]) == whole[:, 5:]).all()
    assert kernels.span(pieces, 8, 8) == []
    del first, pieces
    assert mx.get_active_memory() - before == (3 - 8) * 64 * 32 * 4


def test_weights_are_not_copied() -> None:
    weights = weights_of(SHORTCUT, mx.bfloat16, np.random.default_rng(0))
    before = mx.get_active_memory()
    kept = [StripKernels(mx.bfloat16).prepare(SHORTCUT, weights)]
    assert mx.get_active_memory() == before
    kept.append(StripKernels(mx.float32).prepare(SHORTCUT, weights))
    assert {array.dtype for array in kept[1].values()} == {mx.float32}
    assert mx.get_active_memory() > before


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("outputs", [160, 3])
def test_weights_that_keep_winograd_off_take_what_is_predicted(outputs: int, dtype: mx.Dtype) -> None:
    step = Step("conv", "conv", 96, outputs)
    weights, before = weights_of(step, dtype, np.random.default_rng(0)), mx.get_active_memory()
    kept = StripKernels(dtype, winograd=False).prepare(step, weights)
    taken, predicted = mx.get_active_memory() - before, MetalWorkspace(winograd=False).prepared(step, dtype.size)
    assert predicted == (taken, 0)
    assert (taken > 0) == (outputs == 160), "three outputs are never convolved by Winograd"
    del kept


on_cpu = pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="the model measured here is the CPU's")


PIXEL_NORM = replace(NORMED, name="rms", norm=PIXELS)


@on_cpu
@pytest.mark.parametrize(
    ("step", "dtype", "most"),
    list(product((*STEPS, PIXEL_NORM, RELUS[-1]), [mx.float32, mx.bfloat16], [1 << 30, 9 * 32 * 40 * 4, 9 * 32 * 12])),
)
@pytest.mark.sample(5)
def test_memory_of_a_step(step: Step, dtype: mx.Dtype, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_gpu, "MAX_ELEMENTS", most)
    step = sized(step, 32, 48, skip=32)
    rng, space, size = np.random.default_rng(0), Im2colWorkspace(), dtype.size
    kernels, rows, width, factor = StripKernels(dtype), 9, 40, step.factor
    weights = weights_of(step, dtype, rng)
    x = random((1, rows, width, 32), dtype, rng)
    affine = kernels.affine(np.ones(32), np.ones(32)) if step.norm else None
    large = (1, step.reads(rows * factor), width * factor * step.stride, 32)
    pieces = [random(large, dtype, rng)]
    skip = random((1, rows, width, step.skip), dtype, rng) if step.closes else None
    mx.eval(affine or [])
    activates = step.norm or step.upsample or step.activation != "none"
    activated = rows * width * factor**2 * 32 * size if activates else 0
    if activated:
        activated += space.activate(step, rows, width, size)
        # Of an RMS norm MLX frees parts while others are computed, sooner or later.
        check(peak(lambda: kernels.activate(step, x, affine)), activated, 0.7 if step.rms is None else 0.3)
    written = rows * width * factor**2 * 48 * size
    edge = 2 * width * factor * step.stride * 32 * size if step.halo else 0
    working = written + space.conv(step, rows * factor, width * factor, size) - edge
    check(peak(lambda: kernels.conv(step, weights, pieces, skip)), working)
    check(peak(lambda: kernels.moments(x)), space.moments(32, rows, width, size))


@on_cpu
@pytest.mark.parametrize("scores", [1 << 25, 1 << 17])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.sample(3)
def test_memory_of_the_attention(dtype: mx.Dtype, scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_gpu, "SCORES_AT_ONCE", scores)
    step = Step("attention", "attention", 48, 48, kernel=1, norm=NORM)
    rng, space, size = np.random.default_rng(0), Im2colWorkspace(), dtype.size
    kernels, weights, rows, width = StripKernels(dtype), weights_of(step, dtype, rng), 9, 40
    x, block = (random((1, count, width, c), dtype, rng) for count, c in ((rows, 48), (block_rows(width), 96)))
    affine = kernels.affine(np.ones(48), np.ones(48))
    mx.eval(affine)
    check(peak(lambda: kernels.keys(step, weights, x, affine)), 2 * x.nbytes + space.keys(step, rows, width, size))
    attended = x.nbytes + space.attend(step, rows, width, size)
    check(peak(lambda: kernels.attend(step, weights, x, affine, iter([block, block]))), attended, loosely=0.6)


def check(measured: int, predicted: int, loosely: float = 0.7) -> None:
    """Never below the bytes taken, and not far above: a plan must not waste the budget either."""
    assert loosely * predicted <= measured <= predicted + 256, measured / predicted


@pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU, MLX compiles with g++")
def test_fused_arithmetic_is_the_same_and_takes_nothing() -> None:
    rng = np.random.default_rng(0)
    fused, plain = StripKernels(mx.bfloat16, compiled=True), StripKernels(mx.bfloat16, compiled=False)
    weights, x = weights_of(PROJECTION, mx.bfloat16, rng), random((1, 9, 40, 5), mx.bfloat16, rng)
    step = replace(reading(PROJECTION, READS[-1]), closes=Skip(7))
    skip = random((1, 9, 40, 7), mx.bfloat16, rng)
    affine = fused.affine(np.full(5, 0.7), np.full(5, 0.2))
    mx.eval(affine)

    def both(kernels: StripKernels) -> mx.array:
        (piece,) = kernels.activate(step, x, affine)
        return kernels.conv(step, weights, [piece], skip)

    assert (wide(both(fused)) == wide(both(plain))).all()
    assert peak(lambda: fused.activate(step, x, affine)) == x.nbytes
    assert peak(lambda: fused.conv(step, weights, [x], skip)) <= skip.nbytes + 64 + 8 * 9 < peak(lambda: both(plain))


DEVICE = replace(CPU, workspace=Im2colWorkspace(), band_rows=96)


def run(plan: Plan, vae: VAE, kernels: Kernels[mx.array], given: mx.array, folder: Path) -> np.ndarray:
    weights = vae.weights
    norms = {name: wide(array) for name, array in weights.items() if "norm" in name}
    rows = Run(plan.case.chain, plan.pixels, kernels, weights, norms, SpillFile(folder)).rows(given)
    return np.concatenate([wide(band) for band in rows], axis=1)


def into(found: list[np.ndarray], *given: Any) -> None:
    found.append(run(*given))


@on_cpu
@pytest.mark.parametrize(
    ("task", "height", "dtype"),
    [
        pytest.param("decode", 17, "float32", marks=pytest.mark.slow),
        pytest.param("encode", 9, "bfloat16", marks=pytest.mark.slow),
        pytest.param("decode", 17, "bfloat16", marks=pytest.mark.slow),
        pytest.param("encode", 9, "float32", marks=pytest.mark.slow),
    ],
)
def test_a_run_stays_within_its_plan(task: Task, height: int, dtype: str, tmp_path: Path) -> None:
    config = narrow("flux1", (16, 16, 32, 32), 8)
    vae = random_vae(config, dtype)

    def planned(budget: int, device: Device) -> Plan:
        case = Case(config, height, 14, device.name, dtype, output="rows", task=task)
        return exact_plan(case, budget, device, weights=0)

    chain = config.chain(task)
    shape = (1, height * chain.factors[0], 14 * chain.factors[0], chain.channels[0])
    given = random(shape, vae.dtype, np.random.default_rng(0))
    reference = run(planned(1 << 40, CPU), vae, RowKernels(vae.dtype), given, tmp_path)
    choices = set()
    for budget in (1 << 40, PROCESS + (1 << 23), PROCESS + (1 << 22)):
        plan = planned(budget, DEVICE)
        found: list[np.ndarray] = []
        used = peak(partial(into, found, plan, vae, StripKernels(vae.dtype), given, tmp_path))
        assert 0.6 * (plan.predicted_peak - PROCESS) < used <= plan.predicted_peak - PROCESS
        assert plan.predicted_peak <= budget
        far = abs(found[0] - reference).max() / reference.std()
        assert far < (1e-4 if dtype == "float32" else 0.2)
        choices |= {(sweep.rows, sweep.choice) for sweep in plan.sweeps}
    assert len(choices) > 2
