"""Bands: a whole map kept as strips of rows, in memory or on disk; and the rows that wait inside a sweep."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol

from zvae_tiled.devices.kernels import Kernels, T


@dataclass
class Band(Generic[T]):
    """Some rows on their way through a sweep, with the skip that belongs to them.

    Whoever uses the rows takes them out, so that no frame further up keeps them alive.
    """

    value: T | None
    skip: T | None = None

    def take(self) -> T:
        """Hand over the value."""
        value, self.value = self.value, None
        assert value is not None
        return value

    def take_skip(self) -> T | None:
        """Hand over the skip, if there is one."""
        skip, self.skip = self.skip, None
        return skip


class Bands(Protocol[T]):
    """A whole map as strips of rows."""

    def append(self, rows: T) -> None:
        """Add rows at the bottom."""

    def read(
        self, rows: int, release: bool, first: int = 0, stop: int | None = None, exact: bool = True
    ) -> Iterator[T]:
        """Go through the map from its first row, some rows at a time; with ``release`` each is freed as it is read.

        Not ``exact``: strips of more than half as many rows come as they are, which saves copying them.
        """

    def close(self) -> None:
        """Free what is left."""


class RamBands(Generic[T]):
    """Bands in memory."""

    def __init__(self, kernels: Kernels[T]) -> None:
        self._kernels = kernels
        self._strips: list[T | None] = []

    def append(self, rows: T) -> None:
        """Add rows at the bottom."""
        self._strips.append(rows)

    def read(
        self, rows: int, release: bool, first: int = 0, stop: int | None = None, exact: bool = True
    ) -> Iterator[T]:
        """Go through the map from its first row, some rows at a time."""
        queue = RowQueue(self._kernels)
        top = 0
        for i in range(len(self._strips)):
            strip = self._strips[i]
            assert strip is not None
            bottom = top + self._kernels.rows(strip)
            if first < bottom and (stop is None or top < stop):
                queue.push(strip, max(first - top, 0), None if stop is None else min(bottom, stop) - top)
            top = bottom
            height = self._kernels.rows(strip)
            del strip
            if release:
                self._strips[i] = None
            while queue.rows >= rows:
                yield queue.take(rows)
            if not exact and queue.rows == height and 2 * height > rows:
                yield queue.take(height)
        if queue.rows:
            yield queue.take(queue.rows)

    def close(self) -> None:
        """Free what is left."""
        self._strips.clear()


class RowQueue(Generic[T]):
    """Rows put in at the bottom and taken out at the top, in other portions."""

    def __init__(self, kernels: Kernels[T]) -> None:
        self._kernels = kernels
        self._strips: deque[tuple[T, int, int]] = deque()  # an array, its first row that is left, and the end
        self.rows = 0

    def push(self, strip: T, first: int = 0, stop: int | None = None) -> None:
        """Add rows, or some of them, at the bottom."""
        end = self._kernels.rows(strip) if stop is None else stop
        self._strips.append((strip, first, end))
        self.rows += end - first

    def take(self, rows: int) -> T:
        """Take rows from the top; what is left of a strip shares its memory until it is gone too."""
        spans: list[tuple[T, int, int]] = []
        self.rows -= rows
        while rows:
            strip, first, end = self._strips.popleft()
            stop = min(end, first + rows)
            spans.append((strip, first, stop))
            rows -= stop - first
            if stop < end:
                self._strips.appendleft((strip, stop, end))
        return self._kernels.join(spans)

    def shrink(self) -> None:
        """Copy what is left of a strip, so that the strip is freed; for rows that wait while others work."""
        if self._strips and self._strips[0][1]:
            strip, first, end = self._strips.popleft()
            self._strips.appendleft((self._kernels.join([(strip, first, end)]), 0, end - first))


class Store(Generic[T]):
    """What is alive at a cut: the value, and the skip inside a resnet."""

    def __init__(self, value: Bands[T], skip: Bands[T] | None) -> None:
        self._value = value
        self._skip = skip

    def values(self) -> Bands[T]:
        """Return the value's bands."""
        return self._value

    def append(self, band: Band[T]) -> None:
        """Keep a band; it may go on its way."""
        assert band.value is not None
        self._value.append(band.value)
        if self._skip is not None:
            assert band.skip is not None
            self._skip.append(band.skip)

    def read(self, rows: int, release: bool) -> Iterator[Band[T]]:
        """Go through the map from the top; value and skip were put in, so they come out, in strips of the same rows."""
        values = self._value.read(rows, release, exact=False)
        if self._skip is None:
            return map(Band, values)
        # map, and no generator of our own: its variables would keep rows alive while others work.
        return map(Band, values, self._skip.read(rows, release, exact=False))

    def close(self) -> None:
        """Free what is left."""
        self._value.close()
        if self._skip is not None:
            self._skip.close()
