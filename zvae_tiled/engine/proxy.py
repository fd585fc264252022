"""A proxy: a small map that stands for a large one, for the sake of its statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zvae_tiled.engine.bands import Band, RamBands, Store
from zvae_tiled.engine.moments import Moments
from zvae_tiled.kernels.base import Kernels, T

Map = np.ndarray[Any, np.dtype[np.float32]]


def shrunk(kernels: Kernels[T], store: Store[T], factor: int, height: int, width: int) -> Store[T]:
    """Average squares of a stored map, and give each channel back the mean and the spread it had.

    Args:
        kernels: The device.
        store: The map; it is left as it is.
        factor: Side of a square.
        height: Rows of the map.
        width: Columns of the map.
    """
    rows, columns = height // factor, width // factor
    small: list[Map] = []
    moments: Moments | None = None
    for host in _host_bands(kernels, store, factor):
        moments = moments or Moments(host.shape[-1])
        means = host.mean(axis=1, dtype=np.float64)
        moments.add(means, np.square(host - means[:, None]).sum(axis=1, dtype=np.float64), host.shape[1])
        if len(host) == factor:
            squares = host[:, : columns * factor].reshape(factor, columns, factor, -1)
            small.append(squares.mean(axis=(0, 2), dtype=np.float32))
    assert moments is not None
    proxy = np.stack(small[:rows])
    spread = np.sqrt(moments.m2 / moments.count)
    mean, narrowed = proxy.mean(axis=(0, 1), dtype=np.float64), proxy.std(axis=(0, 1), dtype=np.float64)
    scale = np.where(narrowed > 0, spread / np.maximum(narrowed, 1e-12), 1.0)
    restored = RamBands(kernels)
    restored.append(kernels.from_host((proxy - mean) * scale + moments.mean))
    return Store(restored, None)


def _host_bands(kernels: Kernels[T], store: Store[T], rows: int) -> Iterator[Map]:
    for band in store.read(rows, release=False):
        yield kernels.to_host(_value(band))


def _value(band: Band[T]) -> T:
    return band.take()
