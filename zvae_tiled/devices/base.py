"""What the planner knows of a device: how it allocates, how fast it is, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zvae_tiled.devices.workspace import Workspace


@dataclass(frozen=True)
class Device:
    """A kind of device, with measured or default figures.

    Attributes:
        name: ``metal``, ``cuda``, or ``cpu/`` and the kernels that compute: ``cpu/mlx`` is MLX alone.
        folder: The folder of ``devices/`` that has its kernels.
        likely: Tells whether MLX would compute on it here, without importing MLX.
        workspace: What its kernels allocate.
        band_rows: Rows of a band beyond which it gets no faster.
        flops: Floating-point operations a second in convolutions.
        bandwidth: Bytes a second in everything else.
        disk: Bytes a second to and from disk.
        call: Seconds one Step costs for one band, whatever its size.
        margin: What a measured peak was above its prediction; the planner multiplies workspace by it.
        max_buffer: Bytes of the largest single buffer.
    """

    name: str
    folder: str
    likely: Callable[[], bool]
    workspace: Workspace
    band_rows: int
    flops: float
    bandwidth: float
    disk: float = 1e9
    call: float = 2e-4
    margin: float = 1.0
    max_buffer: int = 1 << 62

    @property
    def kind(self) -> str:
        """``cpu``, ``metal`` or ``cuda``."""
        return self.name.partition("/")[0]
