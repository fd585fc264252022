"""What a decode with a work folder was begun with, and what it notes of its outputs."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from zvae_tiled._version import __version__
from zvae_tiled.devices.blas import preload
from zvae_tiled.devices.cores import usable_cores
from zvae_tiled.devices.here import mlx_version
from zvae_tiled.devices.native_cpu.choice import native_status
from zvae_tiled.devices.native_cpu.library import library_file
from zvae_tiled.engine.checkpoints import Checkpoints
from zvae_tiled.errors import OutputError
from zvae_tiled.files.work_folder import GO_ON, WorkFolder, remove_command
from zvae_tiled.planner.plan import Plan
from zvae_tiled.report.log import LOG
from zvae_tiled.sinks.targets import Targets
from zvae_tiled.sinks.work import WorkSinks
from zvae_tiled.wording import duration

FORMAT = 1
"""Version of the journal. A folder of another version is refused."""

ROWS = 64
"""Rows of an array that are digested at a time."""


class NotedSink:
    """Passes rows on to the outputs, and notes what they have on disk."""

    def __init__(self, outputs: WorkSinks, notes: Checkpoints, plan: Plan) -> None:
        """Let the outputs go on where another process stopped.

        Args:
            outputs: All outputs.
            notes: Where they are noted.
            plan: The plan.
        """
        self._outputs = outputs
        self._notes = notes
        self._height = plan.case.pixels[0]
        self._rows = outputs.go_on(notes.outputs)
        if notes.sweep == len(plan.sweeps) - 1:  # the outputs say which row of the picture is the next one
            notes.rows = self._rows

    @property
    def host_bytes(self) -> int:
        """Bytes gathered outside MLX's allocator."""
        return self._outputs.host_bytes

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""
        self._outputs.write(picture, rows)
        self._rows += rows.shape[1]
        if self._rows == self._height:
            self._rows = 0
            self._notes.picture_done(self._outputs.completed())
        elif self._notes.due:
            self._notes.written(self._rows, self._outputs.states())

    def close(self) -> None:
        """Give all files their names, or none."""
        self._outputs.close()

    def abort(self) -> None:
        """Close all files. They stay in the work folder."""
        self._outputs.abort()


def removed(folder: WorkFolder) -> None:
    """Remove a work folder that is no longer needed. If that fails, the decode has not failed: it is a warning."""
    try:
        folder.remove()
    except OutputError as error:
        LOG.warning("%s. %s", error.problem, error.advice)


def check_same(folder: WorkFolder, begun: Mapping[str, Any]) -> None:
    """Refuse a work folder that was begun with anything else.

    Args:
        folder: The folder.
        begun: What this decode begins with.

    Raises:
        OutputError: It was.
    """
    first = folder.journal.first or {}
    for name, value in begun.items():
        if first.get(name) != value:
            raise OutputError(
                f"{folder.path} was begun with {_OTHER[name]}{_difference(first.get(name), value)}",
                f"Decode as it was begun, name another folder, or remove this one: {remove_command(folder.path)}",
            )


def cores_here() -> int:
    """Return the cores that a decode counts: those of its kernels, if ``ZVAE_THREADS`` gives them fewer."""
    return min(usable_cores(), native_status().threads)


def cores_of(folder: WorkFolder) -> int | None:
    """Return the cores that a decode was begun with. With more, its plan could take more than the budget."""
    cores = (folder.journal.first or {}).get("cores")
    return cores if isinstance(cores, int) and cores > 0 else None


def _difference(before: Any, now: Any) -> str:
    """Return in which options a decode differs from the one that began a folder, or in which of its kernels."""
    if isinstance(before, dict) and isinstance(now, dict):
        others = [name for name in now if before.get(name) != now[name]]
        return "".join(f": {_option(name, before.get(name))}, here {_option(name, now[name])}" for name in others[:1])
    pairs = zip(*(str(each).split(", ") for each in (before, now)), strict=False)
    found = [f"{then:.80}, here {here:.80}" for then, here in pairs if then != here] if "," in str(now) else []
    return "".join(f": {each}" for each in found[:1])


def _option(name: str, value: Any) -> str:
    if value is None:
        return f"no {name.replace('_', ' ')}"
    return f"{name}={value!s:.80}" if name in ("budget", "disk_limit") else f"the {name} {value!s:.80}"


_OTHER = {
    "zvae": "another version",
    "latents": "other latents",
    "weights": "other weights",
    "config": "another config of the VAE",
    "program": "another program, or other kernels",
    "options": "other options",
    "outputs": "other outputs",
}


def program(device: str, dtype: str) -> str:
    """Return the kernels and the versions on which the bytes of maps and files may depend."""
    library = library_file()
    native = "none" if library is None else hashlib.sha256(library.read_bytes()).hexdigest()[:12]
    kernels = f"zvae_tiled {__version__}, {device} {dtype}, native kernels {native}, mlx {mlx_version()}"
    blas = preload()
    products = blas.name if blas.path is None else os.path.basename(blas.path)
    return f"{kernels}, BLAS {products}, numpy {np.__version__}, zlib {zlib.ZLIB_RUNTIME_VERSION}"


def digest_of(arrays: Mapping[str, mx.array]) -> str:
    """Return the SHA-256 of names, shapes, types and values."""
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.shape} {array.dtype};".encode())
        rows = array.reshape(1, -1) if array.ndim < 3 else array.reshape(-1, *array.shape[2:])
        for top in range(0, rows.shape[0], ROWS):
            values = mx.contiguous(rows[top : top + ROWS]).view(mx.uint8)
            total.update(np.asarray(values).data)
    return total.hexdigest()


def warn_of_formats(targets: Targets, plan: Plan) -> None:
    """Warn of outputs that cannot go on in the middle: after a crash their last sweep is run again."""
    anew = [str(target.paths[0]) for target in targets.files if not target.kind.resumes]
    if anew:
        again = duration(plan.sweeps[-1].seconds)
        warnings.warn(
            f"{', '.join(anew)}: after a crash this format is written again from the last stored map, in {again}",
            stacklevel=2,
        )


def check_room(folder: WorkFolder, plan: Plan, targets: Targets) -> None:
    """Refuse maps and parts of pictures that the disk of the work folder may not hold, beside what it holds already.

    Pictures on another disk are copied there at the end.

    Raises:
        OutputError: There is too little free space.
    """
    disk = os.stat(folder.path).st_dev
    copied = tuple(target for target in targets.files if os.stat(target.folder).st_dev != disk)
    Targets(copied).check_room(0, folder.path)
    parts = sum(target.needed for target in targets.files)
    needed, there = plan.spilled + parts, folder.size
    free = shutil.disk_usage(folder.path).free
    if free + there < needed:
        raise OutputError(
            f"the work folder {folder.path} needs {needed:,} bytes, {parts:,} of them for parts of pictures; "
            f"{free + there:,} are free",
            GO_ON if folder.begun else "Free space, name a folder on another disk, or set disk_limit=.",
        )
