"""`Case`: one decode or encode, and its device. A plan is made from a case, a quality, a budget and device figures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from zvae_tiled.chain import Chain
from zvae_tiled.checks import is_count, one_of, shown, whole
from zvae_tiled.devices.table import DEVICE_KINDS
from zvae_tiled.errors import PlanError
from zvae_tiled.families import Task, VAEConfig

ITEMSIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes per number in storage."""

MAX_SIDE = (1 << 31) - 1
"""The longest side in pixels that any file format can hold."""

MAX_BATCH = 1 << 20

Output = Literal["array", "rows"]

PlannedTask = Literal["decode", "stream", "encode"]
"""The tasks of a plan. ``stream`` is a decode whose rows are yielded, or written to a file, as they are finished."""


@dataclass(frozen=True)
class Case:
    """One decode or encode, and its device.

    Attributes:
        config: The VAE.
        height: Rows of the latents.
        width: Columns of the latents.
        device: The device's name: its kind, and on a CPU the kernels too.
        dtype: The VAE's type.
        batch: Number of latents in the batch. They are decoded one after the other.
        output: ``array`` if the finished pictures are held in memory, ``rows`` if each row is passed on when finished.
        task: ``decode`` or ``encode``.
    """

    config: VAEConfig
    height: int
    width: int
    device: str
    dtype: str = "bfloat16"
    batch: int = 1
    output: Output = "array"
    task: Task = "decode"

    @cached_property
    def chain(self) -> Chain:
        """The Chain that the task runs."""
        return self.config.chain(self.task)

    @property
    def as_given(self) -> bool:
        """Whether finished rows are made from the latents as they are given, because the decoder has no Steps."""
        return self.task == "decode" and not self.chain.steps

    @property
    def itemsize(self) -> int:
        """Bytes per number in storage. Latents used as they are given keep their own type, of at most 4 bytes."""
        return 4 if self.as_given else ITEMSIZES[self.dtype]

    @property
    def kind(self) -> str:
        """The device's kind: ``cpu``, ``metal`` or ``cuda``."""
        return self.device.partition("/")[0]

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.height * self.config.scale, self.width * self.config.scale

    def check(self) -> None:
        """Refuse a case that cannot be planned.

        Raises:
            PlanError: A size is out of range, or a name is unknown.
        """
        most = MAX_SIDE // self.config.scale
        for name, count, limit in (("height", self.height, most), ("width", self.width, most)):
            if not is_count(count) or not 1 <= count <= limit:
                raise PlanError(f"{name} must be 1 to {limit:,} latents, it is {shown(count)}")
        if not is_count(self.batch) or not 1 <= self.batch <= MAX_BATCH:
            raise PlanError(f"batch must be a whole number from 1 to {MAX_BATCH:,}, it is {shown(self.batch)}")
        one_of("dtype", self.dtype, tuple(ITEMSIZES))
        one_of("output", self.output, ("array", "rows"))
        one_of("task", self.task, ("decode", "encode"))
        if not isinstance(self.device, str) or self.kind not in DEVICE_KINDS or len(self.device) > 40:
            raise PlanError(f"device must be one of {', '.join(DEVICE_KINDS)}, it is {shown(self.device)}")


def planned_case(
    config: VAEConfig, rows: int, columns: int, device: str, dtype: str, batch: int, task: PlannedTask
) -> Case:
    """Return the case of a `PlannedTask`.

    Raises:
        PlanError: The task is unknown.
    """
    one_of("task", task, ("decode", "stream", "encode"))
    number = whole(batch)
    output: Output = "rows" if task == "stream" else "array"
    count = batch if number is None else number
    return Case(config, rows, columns, device, dtype, count, output, "encode" if task == "encode" else "decode")


def rows_and_columns(height: Any, width: Any, config: VAEConfig) -> tuple[int, int]:
    """Return the rows and columns of the latents that decode to a picture of this size.

    Raises:
        PlanError: Height or width is longer than any picture, or is not a multiple of `config.cell`, the pixels that
            one of a pipeline's latents covers.
    """
    sides = (pixels_of(name, side, config.cell, config.cell) for name, side in (("height", height), ("width", width)))
    rows, columns = (pixels // config.scale for pixels in sides)
    return rows, columns


def pixels_of(name: str, value: Any, cell: int, least: int) -> int:
    """Return `value`, a length in pixels, as an int.

    Raises:
        PlanError: It is not a multiple of `cell`, is below `least`, or is longer than any picture. The error names the
            nearest valid length.
    """
    most, pixels = MAX_SIDE // cell * cell, whole(value)
    if pixels is None or not least <= pixels <= most or pixels % cell:
        problem = f"{name} must be a multiple of {cell} pixels, {least} to {most:,}; it is {shown(value)}"
        if pixels is None:
            raise PlanError(problem, "Pass a whole number (an int).")
        near = min(max(least, (pixels + cell // 2) // cell * cell), most)
        raise PlanError(problem, f"The nearest is {near}.")
    return pixels
