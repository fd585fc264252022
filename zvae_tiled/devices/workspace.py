"""Workspace: what an operation allocates beside its inputs and its output, in bytes.

Each device has its own in its ``memory.py``. The planner sums the numbers, the dry run spends them, tests measure them.
"""

from __future__ import annotations

from typing import Protocol

from zvae_tiled.chain import Step

KEYS_AT_ONCE = 2048
"""Keys a block of the attention; with 1,024 queries the scores are 8 MB in float32."""

MAX_ELEMENTS = 1 << 30
"""Elements of one convolution's im2col: MLX computes wrong values past 2^31 (mlx issue 3248)."""


class Workspace(Protocol):
    """What the kernels of a device allocate."""

    @property
    def folds(self) -> bool:
        """Whether upsampling is folded into its convolution."""

    @property
    def shares(self) -> bool:
        """Whether activated rows are the rows as they are stored, and the convolution activates them."""

    @property
    def piece_rows(self) -> int | None:
        """Rows of one piece of activated rows; None if a band is one piece."""

    def compute_size(self, itemsize: int) -> int:
        """Bytes of a number in activated rows, for this storage size."""

    def prepared(self, step: Step, itemsize: int) -> tuple[int, int]:
        """Bytes a Step's prepared weights hold beside the model's own, and what preparing takes on top."""

    def activate(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Beside the activated rows."""

    def conv(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Beside pieces, skip and result; rows and width are the result's, or those of the map it folds."""

    def keys(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Beside the rows and their keys."""

    def attend(self, step: Step, rows: int, width: int, itemsize: int) -> int:
        """Beside the rows, the result, and one block of keys in storage."""

    def moments(self, channels: int, rows: int, width: int, itemsize: int) -> int:
        """Beside the rows."""


def block_rows(width: int) -> int:
    """Rows of keys read at once: fixed by the width alone, so that every plan adds them up in the same order."""
    return max(1, KEYS_AT_ONCE // width)
