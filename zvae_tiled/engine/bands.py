"""Stores a map as strips of rows in memory, and queues rows inside a sweep. `spill.py` stores maps on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol

from zvae_tiled.devices.kernels import Kernels, Span, T


@dataclass
class Band(Generic[T]):
    """Rows that pass through a sweep, and their skip.

    `take` and `take_skip` drop the band's reference, so that no caller's frame keeps the rows in memory.
    """

    value: T | None
    skip: list[Span[T]] | None = None

    def take(self) -> T:
        """Return the value, and drop it from the band."""
        value, self.value = self.value, None
        assert value is not None
        return value

    def take_skip(self) -> list[Span[T]] | None:
        """Return the skip, or None, and drop it from the band."""
        skip, self.skip = self.skip, None
        return skip


class Bands(Protocol[T]):
    """A map, stored as strips of rows."""

    def append(self, rows: T) -> None:
        """Add rows at the bottom."""

    def read(
        self, rows: int, release: bool, first: int = 0, stop: int | None = None, exact: bool = True
    ) -> Iterator[T]:
        """Yield the map from top to bottom, in bands.

        Args:
            rows: Rows per band; the last band may have fewer.
            release: Free each strip once it is read.
            first: First row to read.
            stop: The row to stop before. Default: the end of the map.
            exact: If False, a band may have fewer rows: a stored strip with more than half of `rows` may be yielded
                as one band, without a copy, and no strip is cut that fits into a band.
        """

    def close(self) -> None:
        """Free the rows that remain."""


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
        """Yield the map from top to bottom, in bands (see `Bands.read`)."""
        queue = RowQueue(self._kernels)
        top = 0
        for i in range(len(self._strips)):
            strip = self._strips[i]
            assert strip is not None
            height = self._kernels.rows(strip)
            bottom = top + height
            if not exact and height <= rows < queue.rows + height:
                yield queue.take(queue.rows)
            if first < bottom and (stop is None or top < stop):
                queue.push(strip, max(first - top, 0), None if stop is None else min(bottom, stop) - top)
            top = bottom
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
        """Free the rows that remain."""
        self._strips.clear()


class RowQueue(Generic[T]):
    """A queue of rows: strips are added at the bottom, and any number of rows is taken from the top."""

    def __init__(self, kernels: Kernels[T]) -> None:
        self._kernels = kernels
        self._strips: deque[Span[T]] = deque()
        self.rows = 0

    def push(self, strip: T, first: int = 0, stop: int | None = None) -> None:
        """Add a strip's rows from `first` to `stop` at the bottom. Default: all of them."""
        end = self._kernels.rows(strip) if stop is None else stop
        self._strips.append((strip, first, end))
        self.rows += end - first

    def take(self, rows: int) -> T:
        """Remove and return rows from the top, joined. A strip stays in memory until its last row is taken."""
        return self._kernels.join(self.take_spans(rows))

    def take_spans(self, rows: int) -> list[Span[T]]:
        """Remove and return rows from the top, where they lie."""
        spans: list[Span[T]] = []
        self.rows -= rows
        while rows:
            strip, first, end = self._strips.popleft()
            stop = min(end, first + rows)
            spans.append((strip, first, stop))
            rows -= stop - first
            if stop < end:
                self._strips.appendleft((strip, stop, end))
        return spans

    def shrink(self) -> None:
        """Copy the remaining rows of the top strip, so that the strip itself is freed while they wait."""
        if self._strips and self._strips[0][1]:
            strip, first, end = self._strips.popleft()
            self._strips.appendleft((self._kernels.join([(strip, first, end)]), 0, end - first))


def part(spans: list[Span[T]], start: int, stop: int) -> list[Span[T]]:
    """Return the rows of spans from `start` to `stop`."""
    found, top = [], 0
    for x, first, end in spans:
        low, high = max(start - top, 0), min(stop - top, end - first)
        if low < high:
            found.append((x, first + low, first + high))
        top += end - first
    return found


class Store(Generic[T]):
    """What is stored at a cut: the value, and inside a resnet also the skip."""

    def __init__(self, kernels: Kernels[T], value: Bands[T], skip: Bands[T] | None) -> None:
        self._kernels = kernels
        self._value = value
        self._skip = skip

    def values(self) -> Bands[T]:
        """Return the value's bands."""
        return self._value

    def append(self, band: Band[T]) -> None:
        """Store a band. The caller may still pass the band on: it then holds the rows that are stored."""
        assert band.value is not None
        self._value.append(band.value)
        if self._skip is not None:
            assert band.skip is not None
            skip = self._kernels.join(band.skip)
            band.skip = [(skip, 0, self._kernels.rows(skip))]
            self._skip.append(skip)

    def read(self, rows: int, release: bool) -> Iterator[Band[T]]:
        """Yield bands from the top of the map. Value and skip were appended in equal heights, and are read in them."""
        values = self._value.read(rows, release, exact=False)
        if self._skip is None:
            return map(Band, values)
        # `map`, not a generator: a generator's variables would keep rows in memory while later Steps run.
        return map(self._with_skip, values, self._skip.read(rows, release, exact=False))

    def _with_skip(self, value: T, skip: T) -> Band[T]:
        return Band(value, [(skip, 0, self._kernels.rows(skip))])

    def close(self) -> None:
        """Free the rows that remain."""
        self._value.close()
        if self._skip is not None:
            self._skip.close()
