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
        super().__init__(kernels, bands, None)
        self._kernels = kernels
        self._rows = rows
        self._columns = columns

    def read(self, rows: int, release: bool) -> Iterator[Band[T]]:
        """Yield bands from the top of the rectangle."""
        del release  # other tiles read it too
        low, high = self._columns.low, self._columns.high
        bands = self._value.read(rows, False, self._rows.low, self._rows.high)
        return map(self._cropped(low, high), bands)

    def _cropped(self, low: int, high: int) -> Callable[[T], Band[T]]:
        return lambda band: Band(self._kernels.crop(band, low, high))
