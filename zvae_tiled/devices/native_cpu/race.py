"""Times two Steps by every path of CPU kernels that runs here, and proposes a path that beats the chosen one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Norm, Step
from zvae_tiled.devices.here import kernels_for
from zvae_tiled.devices.kernels import Kernels
from zvae_tiled.devices.mlx_cpu.memory import CPU
from zvae_tiled.devices.native_cpu.choice import (
    BFLOAT16,
    MLX,
    native_path,
    native_status,
    native_workspace,
)
from zvae_tiled.devices.native_cpu.kernels import NativeKernels
from zvae_tiled.devices.native_cpu.library import Library, open_library
from zvae_tiled.devices.samples import random_map, random_weights
from zvae_tiled.planner.proposal import Proposal

CONV = Step("conv", "conv", 256, 256, norm=Norm("norm", 32), activation="silu")
ATTENTION = Step("attention", "attention", 512, 512, norm=Norm("norm", 32), opens=True)
ROWS, WIDTH = 4, 256
"""Pixels of the convolution. The attention has one row of them, so that it has a quarter of all operations."""

TYPES = {"bfloat16": mx.bfloat16, "float32": mx.float32}
"""The types that are timed. float16 is computed by float32's paths."""

ENOUGH = 1.1
"""A path is proposed if the chosen one takes more than this many times its time."""

SECONDS = 0.5
"""Time after which no further round of a type begins. Two rounds are run at least after the first."""

HOPELESS = 8.0
"""A path is not timed again if its first run takes more than this many times the time of the fastest."""

Work = Callable[[], object]


def proposals() -> tuple[Proposal, ...]:
    """Time every path, and return one that beats the chosen one for each type that has such a path.

    It takes a second or two. The chosen path stays. Without native kernels there is no other path, and no proposal.
    """
    status = native_status()
    found = []
    for name, dtype in TYPES.items() if status.runs else ():
        path = native_path(status, dtype == mx.bfloat16)
        found.append(proposed(name, MLX if path is None else path.name, path_times(dtype)))
    return tuple(each for each in found if each is not None)


def proposed(dtype: str, chosen: str, times: Mapping[str, float]) -> Proposal | None:
    """Return the fastest path if it beats the chosen one clearly."""
    fastest = min(times, key=lambda path: times[path])
    ratio = times[chosen] / times[fastest]
    return Proposal(dtype, chosen, fastest, ratio) if ratio > ENOUGH else None


def path_times(dtype: mx.Dtype) -> dict[str, float]:
    """Return the seconds that each path takes for the two Steps, at best."""
    works = {}
    for name, kernels in _contenders(dtype):
        convolve, attend = _work(kernels, CONV, dtype), _work(kernels, ATTENTION, dtype)
        attend()  # the first call starts threads, and gets memory from the system
        works[name] = lambda convolve=convolve, attend=attend: (convolve(), attend())
    return best_times(works)


def best_times(works: Mapping[str, Work], clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Run all work in turn, round by round, and return the best time of each."""

    def timed(work: Work) -> float:
        start = clock()
        work()
        return clock() - start

    best = {name: timed(work) for name, work in works.items()}
    running = [name for name, taken in best.items() if taken <= HOPELESS * min(best.values())]
    end, rounds = clock() + SECONDS, 0
    while rounds < 2 or clock() < end:
        best |= {name: min(best[name], timed(works[name])) for name in running}
        rounds += 1
    return best


def _contenders(dtype: mx.Dtype) -> Iterator[tuple[str, Kernels[Any]]]:
    """Yield the kernels of each path that computes this type here, and MLX's own."""
    status, library = native_status(), open_library()
    assert isinstance(library, Library), "without native kernels there is no choice"
    for name in status.runs:
        if dtype == mx.bfloat16 or name not in BFLOAT16:
            path = library.runs[name]
            yield name, NativeKernels(dtype, path, native_workspace(path, status.threads))
    yield MLX, kernels_for(CPU, dtype)


def _work(kernels: Kernels[Any], step: Step, dtype: mx.Dtype) -> Work:
    weights: Any = kernels.prepare(step, random_weights(step, dtype))
    norm = kernels.affine(np.full(step.inputs, 0.5), np.full(step.inputs, 0.1))

    def convolve() -> None:
        kernels.conv(step, weights, kernels.activate(step, x, norm), None)
        mx.synchronize()

    def attend() -> None:
        kernels.attend(step, weights, x, norm, iter([block]))
        mx.synchronize()

    if step.kind == "attention":
        x, block = (random_map((1, 1, WIDTH, parts * step.inputs), dtype) for parts in (1, 2))
        return attend
    x = random_map((1, ROWS + 2 * step.halo, WIDTH, step.inputs), dtype)
    return convolve
