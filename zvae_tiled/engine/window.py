"""Reads a rectangle of a stored map as a map of its own: the input of a tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.engine.bands import Band, Bands, Store
from zvae_tiled.planner.grid import Span


class Window(Store[T]):
    """A rectangle of a stored map. Reading does not change the map."""

    def __init__(self, kernels: Kernels[T], bands: Bands[T], rows: Span, columns: Span) -> None:
        """Select the rows and columns that the spans read, with their context."""
        super().__init__(kernels, bands, [])
        self._kernels = kernels
        self._rows = rows
        self._columns = columns

    def read(self, rows: int, release: bool, first: int = 0, stop: int | None = None) -> Iterator[Band[T]]:
        """Yield bands from row `first` of the rectangle to `stop`."""
        del release  # other tiles read it too
        low, high = self._columns.low, self._columns.high
        end = self._rows.high if stop is None else self._rows.low + stop
        bands = self._value.read(rows, False, self._rows.low + first, end)
        return map(self._cropped(low, high), bands)

    def _cropped(self, low: int, high: int) -> Callable[[T], Band[T]]:
        return lambda band: Band(self._kernels.crop(band, low, high))
