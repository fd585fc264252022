"""The Sink: rows come from top to bottom, picture after picture."""

from __future__ import annotations

from typing import Protocol

import mlx.core as mx


class Sink(Protocol):
    """Takes finished rows (1, rows, W, C), float32 in [0, 1] unless raw values were asked for."""

    def write(self, picture: int, rows: mx.array) -> None:
        """Take the next rows of a picture."""

    @property
    def host_bytes(self) -> int:
        """Bytes held outside MLX's allocator."""

    def close(self) -> None:
        """All rows have come: make the result final."""

    def abort(self) -> None:
        """Something failed: leave nothing behind."""
