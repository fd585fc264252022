"""Measures operations: the memory that each takes beside what was predicted, and the speeds of a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.devices.operations import Kind, Operation, operations
from zvae_tiled.devices.speeds import Speeds, fitted

RUNS = 3
"""The most timed runs of an operation in a round. Their median counts, because a decode is made of ordinary runs."""

ENOUGH = 0.25
"""After so many seconds an operation is not run again."""

CACHES = 64 << 20
"""Bytes that fill the caches of a CPU."""

SLACK = 1 << 16
"""Bytes that do not count for the margin: allocations are rounded up, and every plan reserves some (SMALL_CHANGE)."""


@dataclass(frozen=True)
class Peak:
    """The memory of one operation.

    Attributes:
        name: The operation.
        predicted: Bytes that the Workspace predicts, the result included.
        measured: Bytes that were counted.
    """

    name: str
    predicted: int
    measured: int


class Peaks:
    """Measures the memory of operations.

    Attributes:
        device: The device whose Workspace predicts.
        all: Every operation that was measured.
        worst: Largest ratio of measured to predicted bytes, results included.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.all: list[Peak] = []
        self.worst = 0.0

    def measure(self, step: Step, rows: int, width: int, dtype: mx.Dtype) -> None:
        """Measure all operations of one Step on a band of this size."""
        for operation in operations(self.device, step, rows, width, dtype, again=False):
            mx.synchronize()
            before = active_memory()
            reset_peak()
            result = operation.run()
            mx.synchronize()
            measured = peak_memory() - before - SLACK
            del result
            self.worst = max(self.worst, measured / max(operation.predicted, 1))
            self.all.append(Peak(operation.name, operation.predicted, measured + SLACK))


class Times:
    """Measures the time of operations of one type, in several rounds, and fits the speeds to the better ones."""

    def __init__(self, device: Device, dtype: mx.Dtype) -> None:
        self._device, self._dtype = device, dtype
        self._best: dict[tuple[Kind, Step], tuple[float, Operation]] = {}

    def measure(self, step: Step, rows: int, width: int) -> None:
        """Time all operations of one Step on a band of this size."""
        for operation in operations(self._device, step, rows, width, self._dtype, again=True):
            operation.run()  # it may compile, and the next operation needs its result
            mx.synchronize()
            key, seconds = (operation.kind, step), usual_seconds(operation.run)
            if key not in self._best or seconds < self._best[key][0]:
                self._best[key] = seconds, operation

    def speeds(self) -> Speeds:
        """Return the speeds with which the planner's formulas give the measured times."""
        call, convolutions = self._device.call, []
        for (kind, step), (seconds, operation) in self._best.items():
            if kind == "conv":
                taken = self._best["activate", step][0] + seconds
                convolutions.append((operation.flops, operation.moved, max(taken - call, taken / 2)))
        flops, maps = fitted(convolutions)
        return Speeds(flops, maps, self._mean("attend"), self._mean("moments"), self._mean("prepare"))

    def _mean(self, kind: Kind) -> float:
        """Return the speed of all operations of a kind together; without any work that of the device."""
        found = [each for (other, _), each in self._best.items() if other == kind]
        work = sum(operation.flops or operation.moved for _, operation in found)
        return work / sum(seconds for seconds, _ in found) if work else getattr(self._device.speeds, _SPEED[kind])


_SPEED = {"attend": "attention", "moments": "moments", "prepare": "weights"}


def usual_seconds(run: Callable[[], object]) -> float:
    """Return the median of the seconds of a few runs. Each begins as in a decode, with other data in the caches."""
    times: list[float] = []
    other = np.zeros(CACHES, np.uint8)
    while len(times) < RUNS and sum(times) < ENOUGH:
        other += 1
        start = time.perf_counter()
        run()
        mx.synchronize()
        times.append(time.perf_counter() - start)
    return median(times)
