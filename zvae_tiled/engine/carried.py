"""What a causal convolution carries from frame to frame: two maps of the size of its result, in memory or on disk.

Each row is read and written once in a frame, in this order, so a map on disk is replaced in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic

from zvae_tiled.devices.kernels import Kernels, Span, T
from zvae_tiled.engine.bands import RowQueue
from zvae_tiled.engine.spill import Rewritten
from zvae_tiled.engine.spill_file import SpillFile


class Plane(ABC, Generic[T]):
    """A map that is read and replaced, row by row, once in each frame."""

    @abstractmethod
    def begin(self) -> None:
        """Go to the first row, for the next frame."""

    @abstractmethod
    def take(self, rows: int) -> list[Span[T]] | None:
        """Return the next rows of the frame before, where they lie; None in the first frame."""

    @abstractmethod
    def put(self, rows: T) -> None:
        """Store the next rows of this frame."""

    @abstractmethod
    def close(self) -> None:
        """Free the map."""


class RamPlane(Plane[T]):
    """A map in memory. A strip of rows is freed when its last row was read."""

    def __init__(self, kernels: Kernels[T]) -> None:
        self._kernels = kernels
        self._before: RowQueue[T] | None = None
        self._fresh: RowQueue[T] | None = None

    def begin(self) -> None:
        """Go to the first row."""
        self._before, self._fresh = self._fresh, RowQueue(self._kernels)

    def take(self, rows: int) -> list[Span[T]] | None:
        """Return the next rows of the frame before."""
        return None if self._before is None else self._before.take_spans(rows)

    def put(self, rows: T) -> None:
        """Store the next rows."""
        assert self._fresh is not None, "a frame has begun"
        self._fresh.push(rows)

    def close(self) -> None:
        """Free the map."""
        self._before = self._fresh = None


class DiskPlane(Plane[T]):
    """A map in a `SpillFile`."""

    def __init__(self, kernels: Kernels[T], file: SpillFile, width: int, channels: int) -> None:
        self._file = Rewritten(kernels, file, width, channels)
        self._frames = 0
        self._read = 0

    def begin(self) -> None:
        """Go to the first row."""
        self._frames += 1
        self._read = 0
        self._file.rewind()

    def take(self, rows: int) -> list[Span[T]] | None:
        """Read the next rows of the frame before."""
        if self._frames < 2:
            return None
        self._read += rows
        return self._file.follow(self._read - rows, release=False)(rows)

    def put(self, rows: T) -> None:
        """Write the next rows in the place of those that were read."""
        self._file.append(rows)

    def close(self) -> None:
        """Free the disk space."""
        self._file.close()


class Carried(Generic[T]):
    """What one causal convolution carries.

    Attributes:
        upcoming: What is added to its result of the next frame.
        beyond: What is added to its result of the frame after that.
    """

    def __init__(self, upcoming: Plane[T], beyond: Plane[T]) -> None:
        self.upcoming = upcoming
        self.beyond = beyond

    def begin(self) -> None:
        """Go to the first row, for the next frame."""
        self.upcoming.begin()
        self.beyond.begin()

    def close(self) -> None:
        """Free both maps."""
        self.upcoming.close()
        self.beyond.close()
