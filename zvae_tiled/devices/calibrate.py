"""Measures this device: the memory and the speed of a decode's operations, the paths of kernels, and the disk."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import mlx.core as mx

from zvae_tiled.chain import Step
from zvae_tiled.devices.bench import Peaks, Times
from zvae_tiled.devices.heap import unlimited
from zvae_tiled.devices.here import device_kind, device_name, mlx_version, stored_calibration, this_device
from zvae_tiled.devices.load import OtherLoad
from zvae_tiled.devices.native_cpu import race
from zvae_tiled.devices.operations import distinct_steps, no_cache
from zvae_tiled.devices.speeds import Speeds
from zvae_tiled.errors import OutputError
from zvae_tiled.families import config_of
from zvae_tiled.files.temporary import temporary_folder
from zvae_tiled.planner.better import better_of, kept
from zvae_tiled.planner.calibration import LARGEST_MARGIN, Calibration, store
from zvae_tiled.planner.proposal import Proposal

Size = TypeVar("Size")

SIZES = {
    "cpu": ((1, 64), (2, 128), (16, 128)),
    "cpu/mlx": ((1, 64), (2, 128)),
    "metal": ((12, 256), (24, 256), (48, 384)),
}
"""Rows and columns of the bands whose memory is measured, by device or kind. On Metal, below and above Winograd's 4,096
pixels."""

TIMED = {"cpu": (64, 128), "cpu/mlx": (2, 128), "metal": (48, 384), "cuda": (512, 256)}
"""Rows and columns of the band that is timed: as many rows as in a decode, but for MLX's slow kernels on a CPU.

On an H100, convolutions of 48 rows took less time than the waiting for them, and no speed could be fitted to it.
"""

DISK_BYTES = 32 << 20

DTYPES = (mx.bfloat16, mx.float32)
"""Both are measured: on a CPU they have kernels of their own."""

ROUNDS = 2
"""Each operation is timed so many times, with all the others in between: a busy moment does not touch both."""


def calibrate(progress: Callable[[str], None] | None = None, replace: bool = False) -> Calibration:
    """Measure this device, and store the figures for all later decodes.

    Each kind of Step of Z-Image's decoder is run alone, on bands of a few sizes. The most bytes it takes are compared
    with the device's Workspace. Then all are timed in turn, several times. On a CPU every path of kernels is timed too:
    a faster one than the chosen one is proposed, and never chosen. A run takes seconds, and empties MLX's cache of free
    buffers.

    Args:
        progress: Called with a line of text before each measurement, and about the result. Default: no calls.
        replace: Whether a stored speed is replaced by a lower one. By default the higher one is kept.

    Raises:
        OutputError: The disk cannot be measured, or the result cannot be stored.
    """
    say = progress if progress is not None else lambda _: None
    load = OtherLoad()
    peaks, speeds = measured_peaks(say), measured_speeds(say)
    proposals: tuple[Proposal, ...] = ()
    if peaks.device.kind == "cpu":
        say("every path of kernels")
        with unlimited():
            proposals = race.proposals()
    say("the disk")
    fresh = Calibration(
        kind=device_kind(),
        device=device_name(),
        mlx=mlx_version(),
        margin=min(max(1.0, peaks.worst), LARGEST_MARGIN),
        bfloat16=speeds[mx.bfloat16],
        float32=speeds[mx.float32],
        disk=_disk_speed(),
        proposals=proposals,
    )
    chosen = fresh if replace else better_of(stored_calibration()[0], fresh)
    store(chosen)
    for line in (load.sentence(), *kept(fresh, chosen)):
        if line:
            say(line)
    return chosen


def measured_peaks(say: Callable[[str], None]) -> Peaks:
    """Measure the memory of each kind of Step of Z-Image's decoder, on bands of a few sizes, in each type."""
    peaks = Peaks(this_device(calibrated=False))
    with no_cache(), unlimited():
        for dtype in DTYPES:
            say(f"memory of {_name(dtype)}")
            peaks.device = this_device(dtype, calibrated=False)
            for step in _steps():
                for rows, width in _of_device(SIZES):
                    peaks.measure(step, rows, width, dtype)
    return peaks


def measured_speeds(say: Callable[[str], None]) -> dict[mx.Dtype, Speeds]:
    """Time each kind of Step of Z-Image's decoder on a band as tall as those of a decode, in each type."""
    times = {dtype: Times(this_device(dtype, calibrated=False), dtype) for dtype in DTYPES}
    steps = _steps()
    with no_cache(), unlimited():
        for turn in range(1, ROUNDS + 1):
            for dtype in DTYPES:
                for number, step in enumerate(steps, 1):
                    what = f"{step.kind} {step.inputs} to {step.outputs} channels, {_name(dtype)}"
                    say(f"time {turn}/{ROUNDS}, {number}/{len(steps)}: {what}")
                    times[dtype].measure(step, *_of_device(TIMED))
    return {dtype: each.speeds() for dtype, each in times.items()}


def _steps() -> list[Step]:
    return distinct_steps(config_of("z-image").chain("decode"))


def _of_device(table: Mapping[str, Size]) -> Size:
    device = this_device(calibrated=False)
    return table.get(device.name, table.get(device.kind, table["metal"]))


def _name(dtype: mx.Dtype) -> str:
    return str(dtype).removeprefix("mlx.core.")


def _disk_speed() -> float:
    """Return the bytes per second of writing and reading a file in the default folder for spilled maps."""
    data = os.urandom(1 << 20)
    count, folder = DISK_BYTES // len(data), temporary_folder()
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
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
            f"the speed of the disk cannot be measured in {folder}: {error.strerror or error}",
            "Free some space there, or set $TMPDIR to another folder.",
        ) from error
