"""Skips around whole blocks, spread without weights, and shuffles: any bands give what whole maps give."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels.native import PATHS, kernels_of
from tests.support.chain64 import chain64
from tests.support.models import random_tensors
from tests.support.plans import TASKS, bits, random_plan
from tests.support.samples import examples
from tests.support.toys import Blocks
from zvae_tiled import VAE
from zvae_tiled.chain import Spread
from zvae_tiled.chain.whole import run_whole, spread
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.bench import SLACK, Peaks
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_cpu.memory import CpuWorkspace
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.mlx_gpu.memory import METAL, Im2colWorkspace
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.devices.operations import distinct_steps, no_cache
from zvae_tiled.engine.run import Run
from zvae_tiled.engine.spill_file import SpillFile
from zvae_tiled.families import Task
from zvae_tiled.planner.ends import PROCESS

CONFIG = Blocks()


def vae(task: Task, dtype: mx.Dtype = mx.float32, config: Blocks = CONFIG) -> VAE:
    tensors = random_tensors(config.chain(task).shapes)
    return VAE(config, {name: mx.array(values).astype(dtype) for name, values in tensors.items()}, dtype)


def given_to(task: Task, height: int, width: int) -> np.ndarray:
    shape = (1, 4, height, width) if task == "decode" else (1, 4 * height, 4 * width, 3)
    return np.random.default_rng(height).random(shape).astype(np.float32)


def ready(task: Task, values: np.ndarray) -> mx.array:
    return mx.array(values.transpose(0, 2, 3, 1) if task == "decode" else 2 * values - 1)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kernels", ["mlx", *PATHS])
@given(st.integers(0, 1 << 32))
@examples(20)
@pytest.mark.sample(5)
def test_any_bands_give_what_whole_maps_give(kernels: str, task: Task, seed: int) -> None:
    rng, model, chain = Random(seed), vae(task), CONFIG.chain(task)
    height, width = rng.randint(1, 16), rng.randint(1, 16)
    values = given_to(task, height, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZVAE_KERNELS", kernels)
        plans = [random_plan(CONFIG, height, width, "float32", rng, task=task) for _ in range(2)]
        if task == "decode":
            first, second = (model.decode(values, plan=plan, raw=True) for plan in plans)
        else:
            first, second = (model.encode(values, plan=plan).mean.transpose(0, 2, 3, 1) for plan in plans)
    assert bits(first) == bits(second)
    whole = run_whole(chain, model.weights, ready(task, values))
    exact = chain64(model, chain, ready(task, values))
    for got in (first, whole[..., : first.shape[-1]]):
        want = exact[..., : first.shape[-1]]
        assert np.abs(np.asarray(got) - want).max() < 1e-4 * (1 + np.abs(want).max())


@pytest.mark.parametrize("task", ["decode", pytest.param("encode", marks=pytest.mark.slow)])
def test_the_kernels_of_gpus_agree(task: Task, tmp_path: Path) -> None:
    model, chain, rng = vae(task), CONFIG.chain(task), Random(5)
    values = ready(task, given_to(task, 13, 7))
    want = np.asarray(run_whole(chain, model.weights, values))
    norms = {name: np.asarray(array) for name, array in model.weights.items()}
    for _ in range(8):
        plan, kernels = random_plan(CONFIG, 13, 7, "float32", rng, task=task), StripKernels(mx.float32)
        rows = Run(chain, plan.pixels, kernels, model.weights, norms, SpillFile(tmp_path)).rows(values * 1)
        got = np.concatenate([np.asarray(each) for each in rows], axis=1)
        assert np.abs(got - want).max() < 1e-4 * (1 + np.abs(want).max())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_stays_below_its_prediction(dtype: str, task: Task) -> None:
    model, values = vae(task, mx.float32 if dtype == "float32" else mx.bfloat16), given_to(task, 60, 50)
    run = model.decode if task == "decode" else model.encode
    most = model.plan(200, 240, "1GB", task=task).predicted_peak
    for budget in ("1GB", f"{most - 1}B"):
        report = run(values, budget=budget, return_report=True)[1]
        assert report.measured_peak <= report.predicted_peak - PROCESS


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kernels", PATHS)
def test_wide_maps_are_computed_by_squares_alike(kernels: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    config = Blocks(times=8)
    model, values = vae(task, config=config), given_to(task, 9, 7)
    want = chain64(model, config.chain(task), ready(task, values))
    if task == "decode":
        got = model.decode(values, "np", raw=True)
    else:
        got = np.asarray(model.encode(values).mean.transpose(0, 2, 3, 1))
    want = want[..., : got.shape[-1]]
    assert np.abs(got - want).max() < (1e-4 if "bf16" not in kernels else 0.05) * (1 + np.abs(want).max())


SPREADS = [
    Spread(64, 64, up=2, frames=2),
    Spread(64, 32, up=2),
    Spread(64, 128, up=2),
    Spread(32, 64, down=2, frames=2),
    Spread(96, 96, down=2),
    Spread(32, 128),
    Spread(128, 32),
]


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
@pytest.mark.parametrize("path", ["mlx", *PATHS])
def test_a_spread_equals_the_references_and_takes_no_more_memory_than_predicted(path: str, dtype: mx.Dtype) -> None:
    for how in SPREADS:
        kernels: Any = RowKernels(dtype) if path == "mlx" else kernels_of(path, dtype)
        space = CpuWorkspace() if path == "mlx" else kernels.workspace
        x = mx.random.normal((1, 24, 36, how.inputs), key=mx.random.key(0)).astype(dtype)
        mx.eval(x)
        before = active_memory()
        reset_peak()
        got = kernels.spread(how, kernels.join([(x, 0, 10), (x, 10, 24)]))
        taken = peak_memory() - before
        want = np.asarray(spread(how, x).astype(mx.float32))[0]
        near = 0.0 if not how.averages else 1e-6 if dtype == mx.float32 else 0.01  # sums may be in another order
        assert np.abs(kernels.to_host(got) - want).max() <= near * np.abs(want).max(), how
        pixels = 24 * 36 // how.down**2
        join = x.nbytes if path == "mlx" else 0  # the engine joins a skip for these kernels in any case
        assert taken <= space.spread(how, pixels, dtype.size) + join + 4096, how


@pytest.mark.parametrize(
    ("kernels", "dtype", "task"), list(product(["auto", "mlx", "gpu"], [mx.float32, mx.bfloat16], TASKS))
)
@pytest.mark.sample(3)
@pytest.mark.bytes
def test_every_operation_takes_what_is_predicted(
    kernels: str, dtype: mx.Dtype, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of GPUs run on MLX's CPU backend, for which `Im2colWorkspace` is the model."""
    if kernels == "gpu" and mx.default_device().type != mx.cpu:
        pytest.skip("tests/gpu measures them there")
    device: Device = replace(METAL, workspace=Im2colWorkspace())
    if kernels != "gpu":
        monkeypatch.setenv("ZVAE_KERNELS", kernels)
        device = cpu_device(dtype == mx.bfloat16)
    peaks = Peaks(device)
    with no_cache():
        for step in distinct_steps(Blocks(times=4).chain(task)):
            if step.kind == "shuffle" or step.spread or step.joins:
                peaks.measure(step, 5, 301, dtype)
    kinds = {each.name.split()[0] for each in peaks.all}
    assert kinds >= {"shuffle", "spread", "conv"} | ({"added"} if task == "encode" else set())
    assert {each.name: each for each in peaks.all if each.measured > each.predicted + SLACK} == {}
    assert sum(each.predicted for each in peaks.all) < 3 * sum(each.measured for each in peaks.all)
