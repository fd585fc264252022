"""Workspace on GPUs: the bytes that `devices/mlx_gpu/kernels.py` allocates beside inputs and outputs.

Source: MLX 0.32's mlx/backend/metal/conv.cpp and matmul.cpp, mlx/backend/cuda/conv.cpp, and the functions they call.
All allocations of one evaluation are added up, as `calibrate` would measure them.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from zvae_tiled.chain import Spread, Step
from zvae_tiled.devices.base import Device
from zvae_tiled.devices.installed import installed
from zvae_tiled.devices.speeds import Speeds
from zvae_tiled.devices.workspace import (
    MAX_ELEMENTS,
    block_rows,
    local_bytes,
    local_prepared,
    local_rows,
    spread_bytes,
)

SCORES_AT_ONCE = 1 << 25
"""Scores of the attention that are held at once: 134 MB in float32, and 134 MB for their exponentials."""

MOMENTS_AT_ONCE = 1 << 26
"""Elements whose moments are computed at once: 268 MB in float32, and 268 MB for their distances from the mean."""

TILE = 6
"""Rows and columns of a Winograd tile, F(6×6, 3×3). Each tile is transformed to 8×8."""

ROUNDING = 3 * 16384
"""Bytes by which a buffer may exceed the request: one page of 16 KiB by rounding, and two if it is from the cache.

Source: MetalAllocator::malloc, CudaAllocator::malloc_async and BufferCache::reuse_from_cache.
"""

GEMM_SCRATCH = 32 << 20
"""The most bytes of a matrix product: cuBLASLt's limit on Hopper and later (CublasPreference in cublas_utils.cpp)."""

SPLIT_K = (16, 2048 * 16 * 16)
"""Number of partial products in float32, and the most elements of each (steel_matmul_axpby in metal/matmul.cpp)."""


def conv_part(step: Step, rows: int, width: int) -> tuple[int, int]:
    """Return how many rows and columns of the result are convolved at once.

    Rows are split first, into whole Winograd tiles. Columns are split only if one row is too wide.
    """
    taps = step.kernel**2 * step.inputs
    if rows * width * taps <= MAX_ELEMENTS:
        return rows, width
    if width * taps <= MAX_ELEMENTS:
        tall = MAX_ELEMENTS // (width * taps)
        return tall - tall % TILE or tall, width
    return 1, max(1, MAX_ELEMENTS // taps)


def queries_at_once(keys: int) -> int:
    """Return how many queries attend at once to a block of `keys` keys."""
    return max(1, SCORES_AT_ONCE // keys)


def moments_rows(width: int, channels: int) -> int:
    """Return the number of rows whose moments are computed at once."""
    return max(1, MOMENTS_AT_ONCE // (width * channels))


@dataclass(frozen=True)
class StripWorkspace(ABC):
    """The workspace that all GPUs share. A band is one piece, in the storage type."""

    folds: bool = False
    shares: bool = False
    piece_rows: int | None = None
    fused: ClassVar[bool]
    """Whether elementwise arithmetic is compiled into one kernel, which needs no extra memory."""

    def taps(self, step: Step) -> float:
        """Return the kernel's taps, for every pixel of a doubled map."""
        return step.factor**2 * step.kernel**2

    def grain(self, step: Step) -> int:
        """Return 1, because one call may compute any rows; 2 where a skip is spread: pixels of it are 2×2 of them."""
        return step.factor if step.spread else 1

    def compute_size(self, itemsize: int) -> int:
        """Return the size of the storage type. float32 exists only inside an operation."""
        return itemsize

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """Return zeros, because weights are used unchanged; but joined ones are copied, and those of local Steps."""
        if step.local:
            return local_prepared(step)
        return (step.parameters * itemsize if step.parts else 0), 0

    def activate(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of two float32 maps if nothing is fused, or of the small map if the Step upsamples."""
        pixels = rows * width * step.inputs
        if step.norm is None and step.activation != "silu":
            return 2 * pixels * itemsize if step.activation == "relu" and step.upsample else 0
        if step.rms is not None:  # in float32 the map, its squares, and a scale for every number
            return 12 * pixels + 8 * rows * width
        if step.upsample:
            return pixels * itemsize
        return 0 if self.fused else pixels * (4 if itemsize == 4 else 8)

    def conv(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of convolving or adding, the larger, plus the last band's extra row and parts of a split."""
        if step.local:
            return local_bytes(step, min(rows, local_rows(step, width)), width, itemsize) + 8 * rows
        tall, wide = conv_part(step, rows, width)
        pixels, result = tall * wide, tall * wide * step.outputs * itemsize
        adding = 0 if self.fused or itemsize == 4 else result + (8 if step.closes else 4) * pixels * step.outputs
        if step.closes is not None and step.closes.relu:
            adding += 2 * result
        if step.shortcut:
            adding += result + self._product(pixels, step.skip, step.outputs)
        if step.halo:
            # Before the bottom edge is convolved, the last band has an extra row, and is joined.
            line = width * step.stride * step.inputs * itemsize
            size = max(self._convolved(step, tall, wide, itemsize), adding) + 2 * line
        else:
            size = max(self._product(pixels, step.inputs, step.outputs), adding)
        if (tall, wide) != (rows, width):
            size += result
        if wide != width:  # parts of a row are copied and padded, and their skip too
            size += (
                2
                * step.reads(tall)
                * step.reads(wide)
                * (step.inputs + (step.outputs if step.spread else step.skip))
                * itemsize
            )
        extents = 8 * rows * -(-width // wide)  # smallest and largest sum of each row of each part, held until read
        return size + extents

    def spread(self, how: Spread, pixels: int, itemsize: int) -> int:
        """Return the bytes of a spread by MLX."""
        return spread_bytes(how, pixels, itemsize)

    def added(self, size: int) -> int:
        """Return the bytes of the sum."""
        return size

    def keys(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of the normalised rows, and of keys and values, which are computed one after the other."""
        channels = step.inputs
        casts = (0 if self.fused else 4) + (0 if step.rms is None else 8)
        return rows * width * channels * (2 * itemsize + casts) + self._product(rows * width, channels, channels)

    def attend(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of all queries and sums, a block in float32, and some queries' scores and exponentials."""
        channels, pixels = step.inputs, rows * width
        keys = block_rows(width) * width
        queries = min(pixels, queries_at_once(keys))
        states = 4 * pixels * (2 * channels + 2)
        block = (
            4 * keys * channels * (1 if itemsize == 4 else 3)
        )  # one more copy, because halves of a block are strided
        scores = 4 * queries * (2 * keys + 3 * channels + 8)
        # Query and output projections: the normalised rows, the product, and the cast.
        ends = pixels * channels * (3 * itemsize + (4 if step.rms is None else 12))
        product = max(self._product(queries, keys, channels), self._product(pixels, channels, channels))
        return states + max(block + scores, ends) + product

    def moments(self, channels: int, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of some rows in float32, their distances from the mean, and the results of all rows."""
        copies = 4 if itemsize == 4 else 8
        return copies * min(rows, moments_rows(width, channels)) * width * channels + 16 * rows * channels

    @abstractmethod
    def _convolved(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of a 3×3 convolution for a result of this size."""

    @abstractmethod
    def _product(self, rows: int, inner: int, columns: int) -> int:
        """Return the bytes of a matrix product."""


@dataclass(frozen=True)
class Im2colWorkspace(StripWorkspace):
    """An upper bound for any device that convolves by a matrix product, with im2col in float32 and nothing fused.

    MLX's CPU backend does this for every type, so tests/kernels/test_strips_memory.py measures it there.
    """

    fused: ClassVar[bool] = False

    def _convolved(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        # Padded input and im2col in float32, and result and weights of another type too (mlx/backend/cpu/conv.cpp).
        pixels, taps = rows * width, 9 * step.inputs
        padded = step.reads(rows) * step.reads(width) * step.inputs
        casts = 0 if itemsize == 4 else (pixels + taps) * step.outputs
        return 4 * (padded + pixels * taps + casts)

    def _product(self, rows: int, inner: int, columns: int) -> int:
        del rows, inner, columns
        return 0  # BLAS allocates outside MLX's allocator


@dataclass(frozen=True)
class MetalWorkspace(StripWorkspace):
    """MLX on Apple silicon. The conditions are those of dispatch_conv_2D_gpu in metal/conv.cpp.

    Attributes:
        winograd: Whether MLX may choose Winograd. If not, the kernels of such Steps are flipped
            (`devices/mlx_gpu/kernels.py`). This is slower, needs no such memory, and has an 8th to a 40th of the error.
    """

    winograd: bool = True
    fused: ClassVar[bool] = True

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """Return the bytes of a flipped copy of the weights, which keeps MLX from using Winograd."""
        if not self.winograd and winograd_channels(step):
            return 9 * step.inputs * step.outputs * itemsize, 0
        return super().prepared(step, itemsize)

    def _convolved(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        inputs, outputs, pixels = step.inputs, step.outputs, rows * width
        if self.winograd and winograd_channels(step) and (rows + 2) * (width + 2) >= 4096:
            # in_padded, inp_wg and out_wg, filt_wg of winograd_conv_2D_gpu
            down, across = -(-rows // TILE), -(-width // TILE)
            padded = (TILE * down + 2) * (TILE * across + 2) * inputs
            transformed = 64 * down * across * (inputs + outputs)
            return itemsize * (padded + transformed + 64 * inputs * outputs) + 4 * ROUNDING
        aligned = outputs <= 16 or outputs % 16 == 0
        if aligned and (inputs <= 4 or inputs % 16 == 0):
            return 0  # implicit_gemm_conv_2D_gpu
        # explicit_gemm_conv_ND_gpu below 256 pixels. Above, pad_in_channels_conv_2D_gpu, or nothing
        # (implicit_gemm_conv_2D_general_gpu), but never less than for fewer pixels.
        few = min(pixels, 255)
        unfolded = itemsize * few * 9 * inputs + self._product(few, 9 * inputs, outputs) + ROUNDING
        if pixels < 256 or not aligned:
            return unfolded
        channels = -(-inputs // 16) * 16
        read = step.reads(rows) * step.reads(width)
        return max(unfolded, itemsize * channels * (read + 9 * outputs) + 2 * ROUNDING)

    def _product(self, rows: int, inner: int, columns: int) -> int:
        """Return the bytes of steel_gemm_splitk_axpby's partial sums. MLX uses it if the inner size is the largest."""
        partitions, most = SPLIT_K
        if inner < columns:
            return 0
        return 4 * partitions * min(min(rows, inner) * columns, most) + ROUNDING


@dataclass(frozen=True)
class CudaWorkspace(StripWorkspace):
    """MLX on NVIDIA. cuDNN's heuristics choose an engine (DnnGraph::prepare), and nothing limits its workspace.

    So this is a bound and not a formula. It is the larger of two: im2col in the storage type, to which MLX falls back
    (gemm_conv_nd), and a copy of all arrays in another layout, which engines without NHWC make.
    """

    fused: ClassVar[bool] = True

    def _convolved(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        inputs, outputs, pixels = step.inputs, step.outputs, rows * width
        unfolded = pixels * 9 * inputs
        copied = step.reads(rows) * step.reads(width) * inputs + pixels * outputs + 9 * inputs * outputs
        return itemsize * max(unfolded, copied) + GEMM_SCRATCH + 3 * ROUNDING

    def _product(self, rows: int, inner: int, columns: int) -> int:
        del rows, inner, columns
        return GEMM_SCRATCH


def winograd_channels(step: Step) -> bool:
    """Return whether MLX's Metal backend convolves by Winograd, if the map has at least 4,096 pixels."""
    wide = step.inputs % 32 == 0 and step.outputs % 32 == 0 and step.inputs + step.outputs >= 256
    return step.kind == "conv" and step.kernel == 3 and step.stride == 1 and wide


METAL = Device(
    name="metal",
    folder="mlx_gpu",
    likely=lambda: sys.platform == "darwin",
    workspace=MetalWorkspace(),
    # 96, halved 48, 24, 12, 6: all are whole Winograd tiles. Near the 128 rows of mflux's strips. Not measured.
    band_rows=96,
    # Apple's smallest chip, the M1, has 2.6 TFLOP/s and 68 GB/s. MLX's products reach three quarters.
    # Moments take four passes.
    speeds=Speeds(convolutions=2e12, maps=5e10, attention=2e12, moments=1.25e10, weights=5e10),
    max_buffer=4 << 30,  # maxBufferLength of 8 GB Macs, which devices/here.py replaces
)

CUDA = Device(
    name="cuda",
    folder="mlx_gpu",
    likely=lambda: any(installed(f"mlx-cuda-{version}") for version in (12, 13)),
    workspace=CudaWorkspace(),
    band_rows=512,  # on an H200, 128 rows take 1.7 times the time of a 1024² decode, and 1,024 rows 0.9 times
    call=2e-3,  # 1.5 to 4 ms on an H200, of which the GPU computes a tenth
    # NVIDIA's smallest card with 12 GB, the RTX 3060, has 12.7 TFLOP/s in float32 and 360 GB/s. Three quarters of both.
    speeds=Speeds(convolutions=1e13, maps=2.7e11, attention=1e13, moments=6.7e10, weights=2.7e11),
)
