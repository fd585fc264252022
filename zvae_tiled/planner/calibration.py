"""Measurements of one device, in files, and their use by the planner. `devices/calibrate.py` measures. No MLX."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from zvae_tiled.chain import Spread, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.speeds import NO_LIMIT, Speeds
from zvae_tiled.devices.table import DEVICE_KINDS
from zvae_tiled.devices.workspace import Workspace
from zvae_tiled.errors import OutputError
from zvae_tiled.files.atomic import atomic_file
from zvae_tiled.files.opening import open_regular
from zvae_tiled.planner.proposal import Proposal

FORMAT = 2
"""Version of the file format. Increase it when files stored before can no longer be read."""

LARGEST_FILE = 1 << 16
"""The most bytes of a file. A calibration has about 300."""

LARGEST_MARGIN = 100.0
"""The largest valid margin. A memory model that is further off is wrong, not inexact."""

CACHE_VARIABLE = "ZVAE_CACHE"


@dataclass(frozen=True)
class Calibration:
    """Measurements on one device with one version of MLX.

    Attributes:
        kind: ``cpu``, ``metal`` or ``cuda``.
        device: The name that the device reports; on a CPU, with its BLAS.
        mlx: MLX's version.
        margin: The largest ratio of a measured peak to its prediction; 1.0 if no peak was above its prediction.
        bfloat16: The speeds of VAEs of bfloat16.
        float32: The speeds of VAEs of float32. A CPU computes float16 as float32.
        disk: Bytes a second to and from disk.
        proposals: Paths of CPU kernels that were faster than the chosen ones. Default: none.
    """

    kind: str
    device: str
    mlx: str
    margin: float
    bfloat16: Speeds
    float32: Speeds
    disk: float
    proposals: tuple[Proposal, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values that cannot have been measured.

        Raises:
            ValueError: A number is out of its range, or the kind is unknown.
        """
        if self.kind not in DEVICE_KINDS:
            raise ValueError(f"kind is {self.kind!r}")
        for name in ("device", "mlx"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is not a string")
        for name, most in (("margin", LARGEST_MARGIN), ("disk", NO_LIMIT)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} is not a number")
            if not 1.0 <= value <= most:  # NaN compares false with everything, so it is refused here too
                raise ValueError(f"{name} is not between 1 and {most:g}")


@dataclass(frozen=True)
class MarginWorkspace:
    """A Workspace that adds a margin to the bytes of each operation.

    The margin is a share of the operation's result too. So it also covers an operation that was predicted to allocate
    nothing but its result.
    """

    inner: Workspace
    margin: float

    @property
    def shares(self) -> bool:
        """Whether activated rows are the rows as they are stored, and the convolution activates them."""
        return self.inner.shares

    @property
    def folds(self) -> bool:
        """Whether upsampling is folded into its convolution."""
        return self.inner.folds

    @property
    def piece_rows(self) -> int | None:
        """Rows of one piece of activated rows; None if a band is one piece."""
        return self.inner.piece_rows

    def taps(self, step: Step) -> float:
        """Products for a pixel."""
        return self.inner.taps(step)

    def grain(self, step: Step) -> int:
        """Rows of a result that belong together."""
        return self.inner.grain(step)

    def compute_size(self, itemsize: int) -> int:
        """Bytes per number in activated rows."""
        return self.inner.compute_size(itemsize)

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """Bytes of prepared weights, and extra bytes while they are prepared."""
        held, spike = self.inner.prepared(step, itemsize)
        return held, self._grown(spike, held)

    def activate(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Bytes of an activation, without the activated rows."""
        spike = self.inner.activate(step, rows, width, itemsize)
        factor = 1 if self.folds else step.factor**2
        return self._grown(spike, rows * width * factor * step.inputs * self.compute_size(itemsize))

    def conv(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Bytes of a convolution, without its pieces, skip and result."""
        spike = self.inner.conv(step, rows, width, itemsize)
        factor = step.factor**2 if self.folds else 1
        return self._grown(spike, rows * width * factor * step.outputs * itemsize)

    def spread(self, how: Spread, pixels: int, itemsize: int) -> int:
        """Bytes of a skip that is spread, its result included."""
        return self._grown(self.inner.spread(how, pixels, itemsize), 0)

    def added(self, size: int) -> int:
        """Bytes of a sum of two maps, the sum included."""
        return self._grown(self.inner.added(size), 0)

    def keys(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Bytes while keys are computed, without the rows and the keys."""
        return self._grown(self.inner.keys(step, rows, width, itemsize), rows * width * 2 * step.inputs * itemsize)

    def attend(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Bytes of the attention, without the rows, the result, and one block of keys in storage."""
        return self._grown(self.inner.attend(step, rows, width, itemsize), rows * width * step.inputs * itemsize)

    def moments(self, channels: int, rows: int, width: int, itemsize: int) -> int:
        """Bytes while moments are gathered, without the rows."""
        return self._grown(self.inner.moments(channels, rows, width, itemsize), 0)

    def _grown(self, spike: int, result: int) -> int:
        return spike + math.ceil((self.margin - 1.0) * (spike + result))


def apply(device: Device, calibration: Calibration, dtype: str = "bfloat16") -> Device:
    """Return the device with its measured speeds and its measured margin on memory.

    Args:
        device: The device.
        calibration: Its measurements.
        dtype: The type of the VAE. A CPU computes float16 as float32.

    Raises:
        ValueError: The calibration is for another kind of device.
    """
    if device.kind != calibration.kind:
        raise ValueError(f"a calibration for {calibration.kind} cannot be used for {device.kind}")
    bare = bare_workspace(device)
    wide = dtype == "float32" or (device.kind == "cpu" and dtype == "float16")
    return replace(
        device,
        workspace=bare if calibration.margin == 1.0 else MarginWorkspace(bare, calibration.margin),
        margin=calibration.margin,
        speeds=calibration.float32 if wide else calibration.bfloat16,
        disk=calibration.disk,
    )


def bare_workspace(device: Device) -> Workspace:
    """Return the device's Workspace without its margin."""
    return device.workspace.inner if isinstance(device.workspace, MarginWorkspace) else device.workspace


def cache_folder() -> Path:
    """Return the folder of calibrations: ``ZVAE_CACHE``, or ``zvae_tiled`` in the user's cache folder."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "zvae_tiled"
    xdg = os.environ.get("XDG_CACHE_HOME", "")  # its specification: ignore relative paths
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "zvae_tiled"


def calibration_file(kind: str, device: str, mlx: str) -> Path:
    """Return the path of the calibration for one device and one version of MLX."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", f"{kind} {device} mlx {mlx}").strip("-")
    return cache_folder() / f"calibration-{name[:150]}.json"


def calibration_files() -> list[Path]:
    """Return all stored calibrations, of any device.

    Raises:
        OSError: The folder cannot be read.
        RuntimeError: There is no home folder.
    """
    return list(cache_folder().glob("calibration-*.json"))


def store(calibration: Calibration) -> Path:
    """Write a calibration. On an error the file keeps its old content.

    Raises:
        OutputError: The folder cannot be written to.
    """
    text = json.dumps({"format": FORMAT, **asdict(calibration)}, indent=2, sort_keys=True) + "\n"
    advice = f"Set {CACHE_VARIABLE} to a folder that can be written to."
    try:
        file = calibration_file(calibration.kind, calibration.device, calibration.mlx)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as stream:
            stream.write(text.encode())
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        raise OutputError(f"the calibration cannot be stored: {error}", advice) from error
    return file


_UNREADABLE = (OSError, ValueError, TypeError, KeyError, RuntimeError)
"""Errors from a missing, broken or hostile file. RuntimeError: there is no home folder, or JSON is nested deeply."""


def _read(file: Path) -> Calibration:
    stream, _ = open_regular(file)  # a pipe of that name is not waited for
    with stream:
        values = json.loads((stream.read(LARGEST_FILE + 1) or b"").decode())
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"it is not a calibration of format {FORMAT}")
    proposals = values.pop("proposals", [])
    if not isinstance(proposals, list):
        raise ValueError("proposals is not a list")
    values |= {name: Speeds(**values[name]) for name in ("bfloat16", "float32")}
    return Calibration(**values, proposals=tuple(map(Proposal.from_json, proposals)))


def newest(kind: str, mlx: str) -> Calibration | None:
    """Return the newest calibration for a kind of device, for callers that cannot get the device's name from MLX."""
    ages = dict[Path, float]()
    try:
        files = calibration_files()
    except _UNREADABLE:
        return None
    for file in files:
        with contextlib.suppress(*_UNREADABLE):
            ages[file] = file.stat().st_mtime
    for file in sorted(ages, key=ages.__getitem__, reverse=True):
        with contextlib.suppress(*_UNREADABLE):
            calibration = _read(file)
            if (calibration.kind, calibration.mlx) == (kind, mlx):
                return calibration
    return None


def load(kind: str, device: str, mlx: str) -> tuple[Calibration | None, str]:
    """Read the calibration of a device. It never raises.

    Returns:
        The calibration or None, and a sentence that says which file it comes from or why there is none.
    """
    name: object = f"the calibration of {device}"
    try:
        file = name = calibration_file(kind, device, mlx)
        if not file.is_file():
            return None, f"not calibrated: there is no {file}"
        calibration = _read(file)
    except _UNREADABLE as error:
        return None, f"{name} is ignored: {type(error).__name__}: {error}"
    if (calibration.kind, calibration.device, calibration.mlx) != (kind, device, mlx):
        other = f"{calibration.device} ({calibration.kind}) with MLX {calibration.mlx}"
        return None, f"{file} is ignored: it is for {other}"
    return calibration, f"calibrated: {file}"
