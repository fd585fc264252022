"""`Workspace`: the bytes that an operation allocates beside its inputs and its output.

Each device implements it in its ``memory.py``. The planner adds up the numbers, the dry run counts with them, and tests
measure them.
"""

from __future__ import annotations

from math import prod
from typing import Protocol

from zvae_tiled.chain import Spread, Step

KEYS_AT_ONCE = 2048
"""Keys in a block of the attention. With 1,024 queries, the scores are 8 MB in float32."""

KEYS_WEIGHED = 256
"""Keys that are weighed at once, by what share of each probe's attention they get."""

MAX_ELEMENTS = 1 << 30
"""The most elements in one convolution's im2col: MLX computes wrong values past 2^31 (mlx issue 3248)."""


class Workspace(Protocol):
    """Predicts what the kernels of a device allocate.

    `itemsize` is the size of a stored number in bytes.
    """

    @property
    def folds(self) -> bool:
        """Whether upsampling is folded into its convolution."""

    @property
    def shares(self) -> bool:
        """Whether pieces are the stored rows themselves, which the convolution activates."""

    @property
    def piece_rows(self) -> int | None:
        """Rows per piece; None if a band is one piece."""

    def taps(self, step: Step) -> float:
        """Return how many products a convolution computes for a pixel that it reads, an input and an output.

        With stride 2 it counts them for a pixel that it writes.
        """

    def grain(self, step: Step) -> int:
        """Return how many rows of a convolution's result belong together, counted as `conv` counts them.

        `Kernels.conv` gets whole grains, which begin at a multiple of the grain in the map; the last one ends with
        the map. So a kernel that computes some rows together gives bits that do not depend on the plan. 1 if each row
        is computed by itself. It divides the `band_rows` of the device.
        """

    def compute_size(self, itemsize: int) -> int:
        """Return the bytes of a number in activated rows."""

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """Return the bytes that prepared weights hold beside the model's own, and the extra bytes while preparing."""

    def activate(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of `Kernels.activate` beside the activated rows."""

    def conv(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of `Kernels.conv` beside pieces, skip and result.

        `rows` and `width` are those of the result. If upsampling is folded, they are those before doubling.
        """

    def spread(self, how: Spread, pixels: int, itemsize: int) -> int:
        """Return the bytes of `Kernels.spread` for `pixels` of the smaller map, beside the rows of the open skip.

        The result is included.
        """

    def added(self, size: int) -> int:
        """Return the bytes of `Kernels.added` beside two maps of this size; the result is included."""

    def keys(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of `Kernels.keys` beside the rows and their keys."""

    def attend(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of `Kernels.attend` beside the rows, the result, and one stored block of keys."""

    def moments(self, channels: int, rows: int, width: int, itemsize: int) -> int:
        """Return the bytes of `Kernels.moments` beside the rows."""


def spread_bytes(how: Spread, pixels: int, itemsize: int) -> int:
    """Return the bytes of a spread by MLX (`devices/rearranged.py`).

    Repeated values are shuffled. Values to average are unshuffled, and then up to four maps of sums are held.
    """
    if not how.averages:
        return (2 if how.up > 1 else 1) * pixels * how.up**2 * how.outputs * itemsize
    unshuffled = pixels * how.down**2 * how.inputs * itemsize if how.down > 1 else 0
    return unshuffled + 16 * pixels * how.outputs


LOCAL_AT_ONCE = 1 << 22
"""Numbers that a GPU reads at once for a local Step: 16 MB in float32."""


def local_rows(step: Step, width: int) -> int:
    """Return how many rows of a local Step a GPU computes at once."""
    return max(1, LOCAL_AT_ONCE // (width * step.inputs))


def local_bytes(step: Step, rows: int, width: int, itemsize: int) -> int:
    """Return the bytes of `rows` rows of a local Step (`devices/local.py`), which are computed at once, in float32.

    The window is copied, and padded for a depthwise convolution.
    """
    window, pixels = (rows + step.kernel - 1) * width, rows * width
    read, padded = 4 * window * step.inputs, 4 * (window + (rows + 2 * step.halo) * 2 * step.halo) * step.inputs
    each, written = 4 * pixels * step.inputs, pixels * step.outputs
    work = {
        "rms": 4 * each,
        "gated": padded + 3 * each,
        "scales": padded + 4 * each,
        "linear": 2 * each,
    }[step.kind]
    return 2 * read + work + (3 * 4 + itemsize) * written


def local_prepared(step: Step) -> tuple[int, int]:
    """Return the bytes of a local Step's prepared weights, and the extra bytes while they are prepared."""
    held = 4 * (step.parameters if step.kind != "linear" else prod(step.state))
    return held, held


def sums_bytes(step: Step, rows: int, width: int) -> int:
    """Return the bytes of what `rows` rows add to the state of a linear attention, twice, and of one row's parts."""
    return 8 * rows * prod(step.state) + 8 * prod(step.state) + 4 * 3 * width * step.inputs


def block_rows(width: int) -> int:
    """Return the rows of keys in a block. Only the width sets them, so that all plans add keys in the same order."""
    return max(1, KEYS_AT_ONCE // width)
