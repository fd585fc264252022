"""Makes a proxy: a small map whose statistics stand in for those of a large one.

A proxy has two parts, one above the other. One is averaged: it covers the whole map, but is too smooth. The other is
cut out in squares at full size: they are as rough as the map, but cover little of it. docs/notes/proxy.md has the
figures of both, and of the alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zvae_tiled.devices.heap import make_room
from zvae_tiled.devices.kernels import Kernels, T
from zvae_tiled.engine.bands import RamBands, Store
from zvae_tiled.engine.moments import Moments
from zvae_tiled.planner.layout import PROXY_BAND

Map = np.ndarray[Any, np.dtype[np.float32]]

PATCH = 8
"""Side of a square that is cut out."""


def shrunk(
    kernels: Kernels[T], store: Store[T], factors: tuple[int, int], size: tuple[int, int], channels: int
) -> Store[T]:
    """Make a proxy of a stored map. Each channel keeps the mean and the spread that it has in the map.

    Args:
        kernels: The device.
        store: The map. It is not changed.
        factors: Rows and columns of the map per row and column of a part of the proxy.
        size: Rows and columns of the map.
        channels: Channels of the map.
    """
    (down, across), (rows, columns) = factors, (size[0] // factors[0], size[1] // factors[1])
    make_room(8 * rows * columns * channels)
    averaged, cut = (np.zeros((rows, columns, channels), np.float32) for _ in range(2))
    places = {row: i for i, row in enumerate(picked(rows, down).tolist())}
    beside = picked(columns, across)
    moments = Moments(channels)
    for y, row in enumerate(_rows(kernels, store)):
        _add(moments, row)
        if y < rows * down:
            averaged[y // down] += row[: columns * across].reshape(columns, across, -1).mean(axis=1) / down
        if y in places:
            cut[places[y]] = row[beside]
    bands = RamBands(kernels)
    for part in (averaged, cut):
        _restore(part, moments)
        for first in range(0, rows, PROXY_BAND):
            bands.append(kernels.from_host(part[first : first + PROXY_BAND]))
    return Store(kernels, bands, [])


def picked(count: int, factor: int) -> np.ndarray:
    """Return `count` rows (or columns) to cut out of a map, in runs, each in the middle of its share of the map."""
    runs = ((first, min(PATCH, count - first)) for first in range(0, count, PATCH))
    return np.concatenate([first * factor + length * (factor - 1) // 2 + np.arange(length) for first, length in runs])


def _rows(kernels: Kernels[T], store: Store[T]) -> Iterator[Map]:
    for band in store.values().read(PROXY_BAND, release=False):
        yield from kernels.to_host(band)


def _restore(part: Map, target: Moments) -> None:
    """Scale and shift each channel of a part to the mean and spread of `target`."""
    own = Moments(part.shape[-1])
    for row in part:
        _add(own, row)
    # A channel that is flat in the part stays flat, at the target's mean.
    scale = np.sqrt(target.m2 / target.count) / np.sqrt(np.maximum(own.m2 / own.count, 1e-24))
    part -= own.mean.astype(np.float32)
    part *= scale.astype(np.float32)
    part += target.mean.astype(np.float32)


def _add(moments: Moments, row: Map) -> None:
    means = row.mean(axis=0, dtype=np.float64)
    moments.add(means[None], np.square(row - means).sum(axis=0)[None], len(row))
