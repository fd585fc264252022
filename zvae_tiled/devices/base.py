"""What the planner knows of a device: how it allocates, how fast it is, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass

from zvae_tiled.devices.mlx_cpu.memory import CpuWorkspace, Workspace
from zvae_tiled.devices.mlx_gpu.memory import CudaWorkspace, MetalWorkspace


@dataclass(frozen=True)
class Device:
    """A kind of device, with measured or default figures.

    Attributes:
        name: ``metal``, ``cuda``, or ``cpu/`` and the kernels that compute: ``cpu/mlx`` is MLX alone.
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


CPU = Device(
    name="cpu/mlx",
    workspace=CpuWorkspace(),
    band_rows=16,  # one row is the unit of work: larger bands save only Python's time (docs/benchmarks.md)
    flops=5e10,
    bandwidth=2e9,
)

METAL = Device(
    name="metal",
    workspace=MetalWorkspace(),
    # 96, halved 48, 24, 12, 6: all whole Winograd tiles; near the 128 rows of mflux's strips. Not measured.
    band_rows=96,
    # Apple's smallest chip, the M1: 2.6 TFLOP/s, 68 GB/s, and three quarters of them as MLX's products reach.
    flops=2e12,
    bandwidth=5e10,
    max_buffer=4 << 30,  # maxBufferLength of 8 GB Macs; devices/here.py asks the device itself
)

CUDA = Device(
    name="cuda",
    workspace=CudaWorkspace(),
    band_rows=128,  # not measured
    # NVIDIA's smallest card with 12 GB, the RTX 3060: 12.7 TFLOP/s in float32, 360 GB/s, and three quarters of them.
    flops=1e13,
    bandwidth=2.7e11,
)

DEVICES = {device.name: device for device in (CPU, METAL, CUDA)}
