"""Cuts the bands of a part of a sweep to the rows that are wanted of it."""

from __future__ import annotations

from collections.abc import Iterator

from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.engine.bands import Band, part
from zvae_tiled.planner.region import Rows


def cropped(kernels: Kernels[T], bands: Iterator[Band[T]], given: Rows, wanted: Rows) -> Iterator[Band[T]]:
    """Yield the wanted rows of bands, of which the first begins at row `given.first`."""
    return bands if given == wanted else _cropped(kernels, bands, given.first, wanted)


def _cropped(kernels: Kernels[T], bands: Iterator[Band[T]], top: int, wanted: Rows) -> Iterator[Band[T]]:
    for band in bands:
        assert band.value is not None
        rows = kernels.rows(band.value)
        low, high = max(wanted.first - top, 0), min(wanted.stop - top, rows)
        top += rows
        if low < high:
            if high - low < rows:
                whole, band = band, inner(kernels, band, low, high)
                whole.take()  # else its rows stay in memory while later Steps run
                whole.take_skips()
            yield band


def inner(kernels: Kernels[T], band: Band[T], low: int, high: int) -> Band[T]:
    """Return a copy of some rows of a band. The band is unchanged."""
    assert band.value is not None
    skips = [[(kernels.join(part(skip, low, high)), 0, high - low)] for skip in band.skips]
    return Band(kernels.join([(band.value, low, high)]), skips)
