"""Every kind of fault in every kind of call gives no wrong picture, except those that docs/exactness.md names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import Any

import mlx.core as mx
import pytest

from tests.engine.faults import MLX, NATIVE, Victim
from tests.kernels.native import PATHS, kernels_of
from zvae_tiled.devices.mlx_cpu.kernels import RowKernels
from zvae_tiled.devices.mlx_gpu.kernels import StripKernels
from zvae_tiled.devices.native_cpu.library import Attend, Conv, Moments
from zvae_tiled.families import Task

PLAUSIBLE = {(Conv, "another bias"), (Moments, "one other value")}
"""Faults of native calls that no check detects."""

SEEN = {
    ("prepare", "all zeros"),
    *((method, fault) for method in MLX for fault in ("one NaN",)),
    *((method, f"{rows} zeros") for method in MLX if method != "prepare" for rows in ("all", "a row of")),
    *(("moments", fault) for fault in MLX["moments"] if fault != "one other value"),
}
"""Faults of MLX's calls that are detected."""

NATIVE_CASES = [(call, fault) for call, faults in NATIVE.items() for fault in faults if (call, fault) not in PLAUSIBLE]
MLX_CASES = sorted(SEEN)
TASKS: tuple[Task, ...] = ("decode", "encode")
MLX_KERNELS = {"rows": RowKernels, "strips": StripKernels}


def made(kernels: str) -> Any:
    return MLX_KERNELS[kernels](mx.float32) if kernels in MLX_KERNELS else kernels_of(kernels, mx.bfloat16)


@cache
def victim(kernels: str, task: Task) -> Victim:
    return Victim(made(kernels), task)


def check(struck: Victim, call: Any, fault: str, most: int, mends: bool) -> None:
    once, always = (struck.outcomes(call, fault, times, most) for times in (1, math.inf))
    assert set(once) <= {"mended", "harmless"} | (set() if mends else {"refused"})
    assert set(always) <= {"refused", "harmless"}
    assert once.keys() | always.keys() != {"harmless"}, "the fault is none"


def runs(kernels: Iterable[str], quick: int | None = None) -> list[Any]:
    """Return cases (kernels, task, calls to strike): 2 in encodes on the first `quick` kernels, 16 in slow cases."""
    slow = [pytest.param(each, task, 16, marks=pytest.mark.slow) for each in kernels for task in TASKS]
    return [*((each, "encode", 2) for each in list(kernels)[:quick]), *slow]


@pytest.mark.parametrize(("call", "fault"), NATIVE_CASES, ids=str)
@pytest.mark.parametrize(("path", "task", "most"), runs(PATHS, quick=1))
@pytest.mark.sample(5)
def test_a_fault_of_a_native_call_is_mended_or_refused(path: str, task: Task, most: int, call: Any, fault: str) -> None:
    check(victim(path, task), call, fault, most, mends=True)


SAMPLED_CASES = [
    case if case == (Attend, "does nothing") else pytest.param(*case, marks=pytest.mark.slow) for case in NATIVE_CASES
]


@pytest.mark.skipif(not PATHS, reason="built without the native kernels")
@pytest.mark.parametrize(("call", "fault"), SAMPLED_CASES, ids=str)
def test_a_fault_while_keys_are_sampled_is_mended_or_refused(call: Any, fault: str) -> None:
    """The keys pass by once, so what is lost of an answer cannot be computed again."""
    check(sampled_victim(), call, fault, 8, mends=False)


@cache
def sampled_victim() -> Victim:
    return Victim(made(PATHS[0]), "decode", size=(9, 12), keys=64)


@pytest.mark.parametrize(("call", "fault"), MLX_CASES, ids=str)
@pytest.mark.parametrize(("kernels", "task", "most"), runs(MLX_KERNELS))
@pytest.mark.sample(11)
def test_a_fault_of_mlx_is_mended_or_refused(kernels: str, task: Task, most: int, call: str, fault: str) -> None:
    check(victim(kernels, task), call, fault, most, mends=False)


@pytest.mark.parametrize(
    ("kernels", "flat", "zeros"),
    list(
        product(
            [*PATHS[:1], *MLX_KERNELS],
            [None, 0.0],
            [None, "norm", "norm1.bias", "conv", "weight", "bias", "attentions", ""],
        )
    ),
)
@pytest.mark.sample(15)
def test_rows_that_are_flat_by_right_are_no_fault(kernels: str, zeros: str | None, flat: float | None) -> None:
    for task in TASKS:
        assert Victim(made(kernels), task, zeros, flat).calls.total()
