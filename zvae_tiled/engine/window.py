"""A rectangle of a stored map, read as if it were a map of its own: what a tile starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.engine.bands import Band, Bands, Store
from zvae_tiled.planner.grid import Span


class Window(Store[T]):
    """Some rows and columns of a stored map; reading leaves the map as it is."""

    def __init__(self, kernels: Kernels[T], bands: Bands[T], rows: Span, columns: Span) -> None:
        """Read what the spans read: their context is part of it."""
        super().__init__(bands, None)
        self._kernels = kernels
        self._rows = rows
        self._columns = columns

    def read(self, rows: int, release: bool) -> Iterator[Band[T]]:
        """Go through the rectangle from its top."""
        del release  # other tiles read it too
        low, high = self._columns.low, self._columns.high
        bands = self._value.read(rows, False, self._rows.low, self._rows.high)
        return map(self._cropped(low, high), bands)

    def _cropped(self, low: int, high: int) -> Callable[[T], Band[T]]:
        return lambda band: Band(self._kernels.crop(band, low, high))
