"""What MLX allocates on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from zvae_tiled.chain import Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.workspace import KEYS_AT_ONCE, block_rows

ROW_CHUNK = 1024
"""Columns a CPU convolves at once: 1,024 × 9 × 512 channels in float32 are 19 MB, near a core's L2 and L3."""


@dataclass(frozen=True)
class CpuWorkspace:
    """MLX on a CPU, a row at a time in float32 (`devices/mlx_cpu/kernels.py`).

    MLX's convolution copies its input padded, then every window of it (im2col), and multiplies: read in
    mlx/backend/cpu/conv.cpp (0.32), and measured to the byte by tests/planner/test_workspace.py. What one evaluation
    allocates is summed up: MLX allocates ahead of the thread that computes and frees.
    """

    folds: bool = True
    shares: bool = False
    piece_rows: int | None = 1

    def compute_size(self, itemsize: int) -> int:
        """float32, whatever is stored."""
        del itemsize
        return 4

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """float32 copies, and 4 times 2×2 in place of 3×3 taps where an upsampling is folded."""
        copies = 0 if itemsize == 4 else 4 * step.parameters
        if not step.upsample:
            return copies, 0
        taps = 4 * step.inputs * step.outputs
        # While folding: the float32 weights; sums and halves of rows (12 + 6), then of columns (8).
        return copies + 16 * taps, 26 * taps

    def activate(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """One row more: the denominator of SiLU."""
        return 4 * width * step.inputs if step.activation == "silu" else 0

    def conv(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """The joined window; for a chunk of a row padded input, im2col and result; then result, skip and their sum."""
        inputs, outputs = step.inputs, step.outputs
        columns = min(width, ROW_CHUNK)
        window = 4 * 3 * width * step.stride * inputs if step.halo else 0
        result = columns * outputs * step.factor**2
        if step.upsample:
            phase = 2 * (columns + 1) * inputs + 4 * columns * inputs + columns * outputs
            product = 4 * phase + 2 * result
        else:
            product = step.kernel * step.reads(columns) * inputs + columns * step.kernel**2 * inputs + result
        adding = result
        if step.shortcut:
            adding += 3 * columns * step.skip + result
        elif step.closes:
            adding += columns * step.skip
        casts = 0 if itemsize == 4 else itemsize * result
        if rows == 1 and width <= ROW_CHUNK:
            casts -= itemsize * result  # one chunk in all: it becomes the result itself
        return window + max(4 * product, 4 * adding + casts)

    def keys(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """A normalised row, its keys and values, both joined, and in the storage type."""
        both = 2 * width * step.inputs
        casts = 0 if itemsize == 4 else both * itemsize
        if rows == 1:
            casts -= both * itemsize  # it becomes the result itself
        return 4 * 5 * width * step.inputs + casts

    def attend(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Queries and sums of all rows, and the most of three: a block cast, asked, the result written."""
        channels = step.inputs
        states = 4 * rows * width * (2 * channels + 2)
        block, result = 2 * channels * _block_keys(width), rows * width * channels
        columns, keys = min(width, ROW_CHUNK), min(_block_keys(width), KEYS_AT_ONCE)
        scores = 2 * columns * keys + keys * channels + 2 * columns * (channels + 4)
        # There is no result while keys are asked, and no block as it was stored once it is in float32.
        casting = (0 if itemsize == 4 else 4 * block) - result * itemsize
        asking = 4 * (block + scores) - (block + result) * itemsize
        writing = 4 * 5 * width * channels - block * itemsize
        return states + max(casting, asking, writing)

    def moments(self, channels: int, rows: int, width: int, itemsize: int) -> int:
        """A row in float32, its distance from the mean; mean and M2 of all rows."""
        copies = 1 if itemsize == 4 else 2
        return 4 * channels * (copies * width + 2 * rows)


def _block_keys(width: int) -> int:
    return block_rows(width) * width


CPU = Device(
    name="cpu/mlx",
    folder="mlx_cpu",
    likely=lambda: True,
    workspace=CpuWorkspace(),
    band_rows=16,  # one row is the unit of work: larger bands save only Python's time (docs/benchmarks.md)
    flops=5e10,
    bandwidth=2e9,
)
