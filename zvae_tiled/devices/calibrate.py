"""Measures the memory and speed of a decode's operations on this device, and compares them with predictions."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from zvae_tiled.chain import Chain, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.counted import active_memory, peak_memory, reset_peak
from zvae_tiled.devices.heap import unlimited
from zvae_tiled.devices.here import (
    device_kind,
    device_name,
    kernels_for,
    mlx_version,
    stored_calibration,
    this_device,
)
from zvae_tiled.devices.load import OtherLoad
from zvae_tiled.devices.native_cpu import race
from zvae_tiled.devices.samples import random_map, random_weights
from zvae_tiled.devices.workspace import block_rows
from zvae_tiled.errors import OutputError
from zvae_tiled.families import config_of
from zvae_tiled.planner.better import better_of, kept
from zvae_tiled.planner.calibration import LARGEST_MARGIN, Calibration, store
from zvae_tiled.planner.cost import step_flops
from zvae_tiled.planner.proposal import Proposal

SIZES = {
    "cpu": ((1, 64), (2, 128), (16, 128)),
    "cpu/mlx": ((1, 64), (2, 128)),
    "metal": ((12, 256), (24, 256), (48, 384)),
}
"""Rows and columns of the bands, by device or kind. On Metal, below and above Winograd's 4,096 pixels. The last size is
timed too: its rows are those of a decode, but for MLX's slow kernels on a CPU, where that would take minutes."""

RUNS = 5
"""The most timed runs of an operation. The shortest counts, because other programs only make a run longer."""

ENOUGH = 0.25
"""After so many seconds an operation is not run again."""

SLACK = 1 << 16
"""Bytes that do not count for the margin: allocations are rounded up, and every plan reserves some (SMALL_CHANGE)."""

DISK_BYTES = 32 << 20

DTYPES = (mx.float32, mx.bfloat16)
"""Both are timed: on a CPU they have kernels of their own. The bandwidth is that of the last one."""


def calibrate(progress: Callable[[str], None] | None = None, replace: bool = False) -> Calibration:
    """Measure this device, and store the figures for all later decodes.

    Each kind of Step of Z-Image's decoder is run alone, on bands of a few sizes, several times. The most bytes it takes
    are compared with the device's Workspace. On a CPU every path of kernels is timed too: a faster
    one than the chosen one is proposed, and never chosen. A run takes seconds, and empties MLX's cache of free buffers.

    Args:
        progress: Called with a line of text before each measurement, and about the result. Default: no calls.
        replace: Whether a stored speed is replaced by a lower one. By default the higher one is kept.

    Raises:
        OutputError: The disk cannot be measured, or the result cannot be stored.
    """
    say = progress if progress is not None else lambda _: None
    load = OtherLoad()
    bench = measured_steps(say)
    proposals: tuple[Proposal, ...] = ()
    if bench.device.kind == "cpu":
        say("every path of kernels")
        with unlimited():
            proposals = race.proposals()
    say("the disk")
    fresh = _calibration(bench, proposals)
    chosen = fresh if replace else better_of(stored_calibration()[0], fresh)
    store(chosen)
    for line in (load.sentence(), *kept(fresh, chosen)):
        if line:
            say(line)
    return chosen


def measured_steps(say: Callable[[str], None]) -> Bench:
    """Measure each kind of Step of Z-Image's decoder, on bands of a few sizes, in each type."""
    steps = distinct_steps(config_of("z-image").chain("decode"))
    device = this_device(calibrated=False)
    sizes = SIZES.get(device.name, SIZES.get(device.kind, SIZES["metal"]))
    bench = Bench(device)
    with no_cache(), unlimited():
        for number, step in enumerate(steps, 1):
            say(f"{number}/{len(steps)} {step.kind} {step.inputs} to {step.outputs} channels")
            for dtype in DTYPES:
                bench.device = this_device(dtype, calibrated=False)
                for rows, width in sizes:
                    bench.measure(step, rows, width, dtype, timed=(rows, width) == sizes[-1])
    return bench


def _calibration(bench: Bench, proposals: tuple[Proposal, ...]) -> Calibration:
    return Calibration(
        kind=device_kind(),
        device=device_name(),
        mlx=mlx_version(),
        margin=min(max(1.0, bench.worst), LARGEST_MARGIN),
        flops=bench.speed(mx.bfloat16),
        bandwidth=bench.moved / bench.moving,
        disk=_disk_speed(),
        proposals=proposals,
        wide=bench.speed(mx.float32),
    )


def distinct_steps(chain: Chain) -> list[Step]:
    """Return one Step of each kind. Steps that differ only in their names cost the same."""
    nameless = [
        dataclasses.replace(
            step,
            name=step.kind,
            opens=step.kind == "attention",
            norm=step.norm and dataclasses.replace(step.norm, name="norm"),
            closes=step.closes and dataclasses.replace(step.closes, shortcut=step.closes.shortcut and "conv_shortcut"),
        )
        for step in chain.steps
    ]
    return list(dict.fromkeys(nameless))


@contextmanager
def no_cache() -> Iterator[None]:
    """Disable MLX's cache of free buffers, so that peaks contain only live arrays."""
    before = mx.set_cache_limit(0)
    try:
        yield
    finally:
        mx.set_cache_limit(before)


@dataclass(frozen=True)
class Operation:
    """One operation on one band: the memory that was predicted, and what it took.

    Attributes:
        name: The operation, its channels, its band and its type.
        predicted: Bytes that the Workspace predicts, the result included.
        measured: Bytes that were counted.
        seconds: Shortest time of the runs after the first; None if it was not timed.
    """

    name: str
    predicted: int
    measured: int
    seconds: float | None


class Bench:
    """Measures operations, and keeps the largest ratio of measured to predicted peak.

    Attributes:
        operations: Every operation that was measured.
        worst: Largest ratio of measured to predicted bytes, results included.
        flops: Multiplications and additions of the timed convolutions, by type.
        computing: Seconds of the timed convolutions, by type.
        moved: Bytes that the other timed operations moved, by the planner's count.
        moving: Seconds of the other timed operations.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.operations: list[Operation] = []
        self.worst = 0.0
        self.flops = dict.fromkeys(DTYPES, 0)
        self.computing = dict.fromkeys(DTYPES, 0.0)
        self.moved, self.moving = 0, 0.0

    def speed(self, dtype: mx.Dtype) -> float:
        """Return the multiplications and additions a second of the timed convolutions of a type."""
        return self.flops[dtype] / self.computing[dtype]

    def measure(self, step: Step, rows: int, width: int, dtype: mx.Dtype, timed: bool) -> None:
        """Measure all operations of one Step on a band of this size. Time them too if `timed`."""
        kernels, space, itemsize = kernels_for(self.device, dtype), self.device.workspace, dtype.size
        kind = str(dtype).removeprefix("mlx.core.")
        about = f"{step.kernel}x{step.kernel} {step.inputs} to {step.outputs}, {rows}x{width}, {kind}"
        ready: list[object] = []
        model = random_weights(step, dtype)
        self._peak(
            f"prepare {about}", lambda: ready.append(kernels.prepare(step, model)), sum(space.prepared(step, itemsize))
        )
        weights = ready[0]
        norm = kernels.affine(np.full(step.inputs, 0.5), np.full(step.inputs, 0.1))
        affine = norm if step.norm else None
        x = random_map((1, rows, width, step.inputs), dtype)
        pixels = rows * width
        if step.kind == "attention":
            blocks = [random_map((1, block_rows(width), width, 2 * step.inputs), dtype)]
            both = 2 * pixels * step.inputs * itemsize + space.keys(step, rows, width, itemsize)
            self._peak(f"keys {about}", lambda: kernels.keys(step, weights, x, norm), both)
            attended = pixels * step.outputs * itemsize + space.attend(step, rows, width, itemsize)
            # The list gives up its reference to a block, as the engine does, so that kernels may free it.
            attend = lambda: kernels.attend(step, weights, x, norm, (blocks.pop() for _ in range(1)))  # noqa: E731
            self._peak(f"attend {about}", attend, attended)
            return
        grown = 1 if kernels.folds else step.factor
        held = pixels * grown**2 * step.inputs * space.compute_size(itemsize)
        activated = held + space.activate(step, rows, width, itemsize)
        seconds = self._peak(f"activate {about}", lambda: kernels.activate(step, x, affine), activated, timed)
        seconds += self._peak(
            f"moments {about}", lambda: kernels.moments(x), space.moments(step.inputs, rows, width, itemsize), timed
        )
        pieces = kernels.activate(
            step, random_map((1, rows + 2 * step.halo // grown, width, step.inputs), dtype), affine
        )
        pieces = kernels.span(pieces, 0, rows * grown + 2 * step.halo)
        skip = None
        if step.closes:
            skip = kernels.beside([(random_map((1, rows * grown, width * grown, step.skip), dtype), 0, rows * grown)])
        written = pixels * step.factor**2 * step.outputs * itemsize
        working = space.conv(step, rows * grown, width * grown, itemsize)
        computing = self._peak(
            f"conv {about}", lambda: kernels.conv(step, weights, pieces, skip), written + working, timed
        )
        if timed:
            self.flops[dtype] += step_flops(step, pixels, space.taps(step))
            self.computing[dtype] += computing
        if (
            timed and step.norm and dtype == DTYPES[-1]
        ):  # both pass over the map four times, as `Costs.seconds` and `SweepCosts.sweep` count
            self.moved, self.moving = self.moved + 2 * 4 * x.nbytes, self.moving + seconds

    def _peak(self, name: str, run: Callable[[], object], predicted: int, timed: bool = False) -> float:
        mx.synchronize()
        before = active_memory()
        reset_peak()
        run()
        mx.synchronize()
        measured = peak_memory() - before - SLACK
        self.worst = max(self.worst, measured / max(predicted, 1))
        seconds = _shortest(run) if timed else None  # without the first run, which may have compiled
        self.operations.append(Operation(name, predicted, measured + SLACK, seconds))
        return seconds or 0.0


def _shortest(run: Callable[[], object]) -> float:
    times: list[float] = []
    while len(times) < RUNS and sum(times) < ENOUGH:
        start = time.perf_counter()
        run()
        mx.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def _disk_speed() -> float:
    """Return the bytes per second of writing and reading a file in the default folder for temporary files."""
    data = os.urandom(1 << 20)
    count = DISK_BYTES // len(data)
    try:
        with tempfile.TemporaryFile(buffering=0) as file:
            start = time.perf_counter()
            for _ in range(count):
                file.write(data)
            os.fsync(file.fileno())
            file.seek(0)
            while file.read(len(data)):
                pass
            return 2 * count * len(data) / (time.perf_counter() - start)
    except OSError as error:
        raise OutputError(
            f"the speed of the disk cannot be measured in {tempfile.gettempdir()}: {error.strerror or error}",
            "Free some space there, or set $TMPDIR to another folder.",
        ) from error
