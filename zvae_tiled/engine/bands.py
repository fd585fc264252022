"""Stores a map as strips of rows in memory, and queues rows inside a sweep. `spill.py` stores maps on disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol

from zvae_tiled.devices.kernels import Kernels, Span, T


@dataclass
class Band(Generic[T]):
    """Rows that pass through a sweep, and the same rows of every skip that is open, the outermost first.

    `take` and `take_skips` drop the band's reference, so that no caller's frame keeps the rows in memory.
    """

    value: T | None
    skips: list[list[Span[T]]] = field(default_factory=list)

    def take(self) -> T:
        """Return the value, and drop it from the band."""
        value, self.value = self.value, None
        assert value is not None
        return value

    def take_skips(self) -> list[list[Span[T]]]:
        """Return the skips, and drop them from the band."""
        skips, self.skips = self.skips, []
        return skips


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

    def follow(self, first: int, release: bool) -> Callable[[int], list[Span[T]]]:
        """Return a function that returns the next rows, as many as it is asked for, where they lie.

        Args:
            first: First row to read.
            release: Free each strip once its last row is read.
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

    def strips(self) -> list[T]:
        """Return the strips that were not freed, from the top of the map to the bottom."""
        return [strip for strip in self._strips if strip is not None]

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

    def follow(self, first: int, release: bool) -> Callable[[int], list[Span[T]]]:
        """Return a function that returns the next rows (see `Bands.follow`)."""
        queue, strips = RowQueue(self._kernels), iter(range(len(self._strips)))
        above = first

        def following(rows: int) -> list[Span[T]]:
            nonlocal above
            while queue.rows < rows + above:
                i = next(strips)
                strip = self._strips[i]
                assert strip is not None
                queue.push(strip)
                if release:
                    self._strips[i] = None
            if above:
                queue.take_spans(above)
                above = 0
            return queue.take_spans(rows)

        return following

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
    """What is stored at a cut: the value, and inside a resnet or a block also the skips."""

    def __init__(self, kernels: Kernels[T], value: Bands[T], skips: Sequence[Bands[T]], shared: bool = False) -> None:
        """Take the places of value and skips.

        Args:
            kernels: The device.
            value: Where the value is stored.
            skips: Where the skips are stored, the outermost first.
            shared: Whether the one skip is a map that is stored already: it was the value of the cut before.
        """
        self._kernels = kernels
        self._value = value
        self._skips = skips
        self._shared = shared

    def values(self) -> Bands[T]:
        """Return the value's bands."""
        return self._value

    def places(self) -> list[Bands[T]]:
        """Return the value's bands, and those of every skip, the outermost first."""
        return [self._value, *self._skips]

    def append(self, band: Band[T]) -> None:
        """Store a band. The caller may still pass the band on: it then holds the rows that are stored."""
        assert band.value is not None
        self._value.append(band.value)
        for place, bands in enumerate(() if self._shared else self._skips):
            skip = self._kernels.join(band.skips[place])
            band.skips[place] = [(skip, 0, self._kernels.rows(skip))]
            bands.append(skip)

    def read(self, rows: int, release: bool, first: int = 0, stop: int | None = None) -> Iterator[Band[T]]:
        """Yield bands from row `first` to `stop`.

        Args:
            rows: Rows per band, at most.
            release: Free each strip once it is read.
            first: First row to read.
            stop: The row to stop before. Default: the end of the map.
        """
        values = self._value.read(rows, release, first, stop, exact=False)
        # `map`, not a generator: a generator's variables would keep rows in memory while later Steps run.
        if not self._skips:
            return map(Band, values)
        return map(partial(_beside, self._kernels, [skip.follow(first, release) for skip in self._skips]), values)

    def close(self) -> None:
        """Free the rows that remain."""
        for bands in (self._value, *self._skips):
            bands.close()


def _beside(kernels: Kernels[T], following: list[Callable[[int], list[Span[T]]]], value: T) -> Band[T]:
    return Band(value, [each(kernels.rows(value)) for each in following])
