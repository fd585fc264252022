"""The `Sink` protocol: it takes rows from top to bottom, picture after picture."""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx


class Sink(Protocol):
    """Takes finished rows (1, rows, W, C): float32 in [0, 1], or the decoder's own values with ``raw=True``."""

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""

    @property
    def host_bytes(self) -> int:
        """Bytes held outside MLX's allocator."""

    def close(self) -> None:
        """Complete the result, after the last row."""

    def abort(self) -> None:
        """Remove the unfinished result, after an error."""
