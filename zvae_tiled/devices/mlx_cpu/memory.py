"""Workspace of MLX on a CPU: the bytes that `devices/mlx_cpu/kernels.py` allocates beside inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass

from zvae_tiled.chain import Spread, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.speeds import Speeds
from zvae_tiled.devices.workspace import KEYS_AT_ONCE, block_rows, local_bytes, local_prepared, spread_bytes

ROW_CHUNK = 1024
"""Columns convolved at once: 1,024 × 9 × 512 channels in float32 are 19 MB, near a core's L2 and L3."""


@dataclass(frozen=True)
class CpuWorkspace:
    """MLX on a CPU, a row at a time in float32 (`devices/mlx_cpu/kernels.py`).

    MLX's convolution pads a copy of its input, copies every window of it (im2col), and multiplies. Source:
    mlx/backend/cpu/conv.cpp (0.32), measured to the byte by tests/planner/test_workspace.py. All allocations of one
    evaluation are added up, because MLX allocates before the computing thread frees.
    """

    folds: bool = True
    shares: bool = False
    piece_rows: int | None = 1

    def taps(self, step: Step) -> float:
        """Return the kernel's taps; of a folded upsampling those of its four small kernels."""
        return 16 if step.upsample else step.kernel**2

    def grain(self, step: Step) -> int:
        """Return 1: each row is computed by itself."""
        del step
        return 1

    def compute_size(self, itemsize: int) -> int:
        """Return the size of float32, for every storage type."""
        del itemsize
        return 4

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """Return the bytes of float32 copies. Folded upsampling has 4 times 2×2 taps in place of 3×3."""
        if step.local:
            return local_prepared(step)
        copies = 0 if itemsize == 4 else 4 * step.parameters
        if step.parts:
            return 4 * step.parameters, itemsize * step.parameters  # the joined weights
        if not step.upsample:
            return copies, 0
        taps = 4 * step.inputs * step.outputs
        # While folding, beside the float32 weights: sums and halves of rows (12 + 6), then of columns (8).
        return copies + 16 * taps, 26 * taps

    def activate(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of the denominator of SiLU, which is one row."""
        return 4 * width * step.inputs if step.activation == "silu" else 0

    def conv(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of the joined window, and of the larger of two steps for a chunk of a row.

        Convolving needs padded input, im2col and result. Adding needs result, skip and their sum.
        """
        if step.local:
            return local_bytes(step, 1, width, itemsize)
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
        elif step.spread:
            adding += result
        elif step.closes:
            adding += (2 if step.closes.relu else 1) * columns * step.skip
        casts = 0 if itemsize == 4 else itemsize * result
        if rows == 1 and width <= ROW_CHUNK:
            casts -= itemsize * result  # the only chunk becomes the result itself
        return window + max(4 * product, 4 * adding + casts)

    def spread(self, how: Spread, pixels: int, itemsize: int) -> int:
        """Return the bytes of a spread by MLX."""
        return spread_bytes(how, pixels, itemsize)

    def added(self, size: int) -> int:
        """Return the bytes of the sum."""
        return size

    def keys(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of a normalised row, its keys and values, both joined, and both in the storage type."""
        both = 2 * width * step.inputs
        casts = 0 if itemsize == 4 else both * itemsize
        if rows == 1:
            casts -= both * itemsize  # the only row becomes the result itself
        return 4 * 5 * width * step.inputs + casts

    def attend(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of all queries and sums, plus the largest of casting a block, attending, and writing."""
        channels = step.inputs
        states = 4 * rows * width * (2 * channels + 2)
        block, result = 2 * channels * _block_keys(width), rows * width * channels
        columns, keys = min(width, ROW_CHUNK), min(_block_keys(width), KEYS_AT_ONCE)
        scores = 2 * columns * keys + keys * channels + 2 * columns * (channels + 4)
        # No result exists while attending. The stored block is freed once it is in float32.
        casting = (0 if itemsize == 4 else 4 * block) - result * itemsize
        attending = 4 * (block + scores) - (block + result) * itemsize
        writing = 4 * 5 * width * channels - block * itemsize
        return states + max(casting, attending, writing)

    def moments(self, channels: int, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of a row in float32, its distances from the mean, and mean and M2 of all rows."""
        copies = 1 if itemsize == 4 else 2
        return 4 * channels * (copies * width + 2 * rows)


def _block_keys(width: int) -> int:
    return block_rows(width) * width


CPU = Device(
    name="cpu/mlx",
    folder="mlx_cpu",
    likely=lambda: True,
    workspace=CpuWorkspace(),
    band_rows=16,  # the unit of work is a row: taller bands only save Python's time (docs/benchmarks.md)
    speeds=Speeds(convolutions=5e10, maps=2e9, attention=5e10, moments=5e8, weights=2e9),
)
