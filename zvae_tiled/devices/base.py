"""`Device`: what the planner knows about a device, namely memory, speed and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zvae_tiled.devices.speeds import Speeds
from zvae_tiled.devices.workspace import Workspace


@dataclass(frozen=True)
class Device:
    """A kind of device, with measured or default figures.

    Attributes:
        name: ``metal``, ``cuda``, or ``cpu/`` and the kernels that compute: ``cpu/mlx`` is MLX alone.
        folder: The folder of its kernels in ``devices/``.
        likely: Returns whether MLX would compute on it here, without importing MLX.
        workspace: Predicts what its kernels allocate.
        band_rows: Rows of a band, a multiple of every grain; taller bands are not faster.
        speeds: How fast it computes.
        disk: Bytes per second to and from disk. Most spilled maps are still in memory when they are read back.
        call: Seconds that a Step takes for each band, regardless of the band's size.
        margin: Measured peak divided by predicted peak. The planner multiplies workspace by it.
        max_buffer: Bytes of the largest single buffer.
    """

    name: str
    folder: str
    likely: Callable[[], bool]
    workspace: Workspace
    band_rows: int
    speeds: Speeds
    disk: float = 2e9
    call: float = 2e-4
    margin: float = 1.0
    max_buffer: int = 1 << 62

    @property
    def kind(self) -> str:
        """``cpu``, ``metal`` or ``cuda``."""
        return self.name.partition("/")[0]
