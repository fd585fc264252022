"""Local Steps: what cannot be right is computed again, then refused; and they take the memory that is predicted."""

from __future__ import annotations

from itertools import product
from random import Random

import mlx.core as mx
import numpy as np
import pytest

from tests.families.test_dc import SMALL
from tests.kernels.native import PATHS
from tests.support.chain64 import chain64
from tests.support.models import random_latents, random_vae, with_weights
from tests.support.plans import TASKS, bits, random_plan
from zvae_tiled.chain import Step
from zvae_tiled.devices import local
from zvae_tiled.devices.bench import SLACK, Peaks
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.native_cpu.choice import cpu_device
from zvae_tiled.devices.operations import distinct_steps, no_cache
from zvae_tiled.engine.checked import summed
from zvae_tiled.errors import SilentFailureError
from zvae_tiled.families import Task

CASES = list(product(["linear", "scales", "rms", "gated"], ["mlx", *PATHS[-1:]]))
LATENTS = random_latents(SMALL, 3, 4)


@pytest.mark.parametrize(("kind", "kernels"), CASES)
@pytest.mark.sample(8)
def test_rows_of_zeros_are_computed_again_then_refused(
    kind: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    vae, healthy = random_vae(SMALL), local._KINDS[kind]
    drawn, bad, rows = random_plan(SMALL, 3, 4, "float32", Random(3)), 0, 0

    def faulty(step: Step, weights: local.Weights, window: mx.array) -> mx.array:
        nonlocal rows
        rows += 1
        y = healthy(step, weights, window)
        return mx.zeros_like(y) if rows <= bad else y

    monkeypatch.setitem(local._KINDS, kind, faulty)
    want, usual = bits(vae.decode(LATENTS, plan=drawn, raw=True)), rows
    bad, rows = 1, 0
    assert bits(vae.decode(LATENTS, plan=drawn, raw=True)) == want
    assert rows > usual
    bad, rows = 10**9, 0
    with pytest.raises(SilentFailureError, match="only the value 0"):
        vae.decode(LATENTS, plan=drawn, raw=True)


@pytest.mark.parametrize("part", ["to_q", "to_k", "to_v"])
def test_an_attention_may_give_zeros(part: str) -> None:
    vae = random_vae(SMALL)
    zeros = {name: mx.zeros_like(values) for name, values in vae.weights.items() if f".{part}." in name}
    vae = with_weights(vae, zeros)
    want = chain64(vae, SMALL.chain("decode"), mx.array(LATENTS.transpose(0, 2, 3, 1)) / SMALL.scaling_factor)
    assert np.abs(vae.decode(LATENTS, "np", raw=True) - want).max() < 1e-3 * want.std()


@pytest.mark.parametrize(("kernels", "dtype", "task"), list(product(["mlx", "auto"], [mx.float32, mx.bfloat16], TASKS)))
@pytest.mark.sample(3)
@pytest.mark.bytes
def test_every_operation_takes_what_is_predicted(
    kernels: str, dtype: mx.Dtype, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZVAE_KERNELS", kernels)
    peaks = Peaks(cpu_device(dtype == mx.bfloat16))
    with no_cache():
        for step in distinct_steps(SMALL.chain(task)):
            if step.local or step.parts:
                peaks.measure(step, 5, 300, dtype)
    assert {each.name: each for each in peaks.all if each.measured > each.predicted + SLACK} == {}
    assert sum(each.predicted for each in peaks.all) < 3 * sum(each.measured for each in peaks.all)


@pytest.mark.parametrize("wrong", [0.0, np.nan])
def test_sums_that_cannot_be_right_are_computed_again_then_refused(wrong: float) -> None:
    step = next(step for step in SMALL.chain("decode").steps if step.kind == "linear")
    x = mx.random.normal((1, 2, 5, step.inputs), key=mx.random.key(0))
    good, calls = RowKernels(mx.float32).sums(step, x), list[int]()

    class Faulty(RowKernels):
        def sums(self, step: Step, x: mx.array) -> np.ndarray:
            calls.append(1)
            return np.where(len(calls) < most, wrong, good)

    most = 2
    assert (summed(Faulty(mx.float32), step, x) == good).all()
    calls.clear()
    most = 9
    with pytest.raises(SilentFailureError, match="wrong, twice"):
        summed(Faulty(mx.float32), step, x)
    assert not summed(RowKernels(mx.float32), step, 0 * x)[:, :, -1].any()  # zeros are right where no key is above 0
