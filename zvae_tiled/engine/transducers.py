"""Runs each Step as a generator: bands in, bands out. It keeps only the rows that it still needs.

Each generator (a transducer) pulls bands from the one before it. Zeros are added at the top and the bottom of the
map, never between bands. Nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zvae_tiled.chain import Step
from zvae_tiled.devices.kernels import Affine, Kernels, Span, T
from zvae_tiled.engine.bands import Band, Bands, RowQueue, Store
from zvae_tiled.engine.guard import Guard


def convolve(
    kernels: Kernels[T],
    step: Step,
    weights: Callable[[], Any],
    affine: Affine | None,
    width: int,
    height: int,
    limit: int,
    bands: Iterator[Band[T]],
) -> Iterator[Band[T]]:
    """Run a convolution Step.

    Rows of the result are convolved by whole grains, from one multiple of the device's grain in the map to another.
    Only the map's last grain may be smaller. Until a grain is complete, its input waits.

    Args:
        kernels: The device.
        step: The Step.
        weights: Returns its prepared weights.
        affine: Its folded norm; None if it has none.
        width: Columns of the map that is convolved.
        height: Rows of that map.
        limit: Rows to convolve at once, counted in the result, but before upsampling where that is folded. Rounded
            up to whole grains.
        bands: The Step's input, from the top of the map to the bottom.
    """
    above, below = step.zeros
    guard = Guard(kernels, step, weights)
    grain = kernels.grain(step)
    limit = -(-limit // grain) * grain
    pieces = kernels.edge(step, width) if above else []
    waiting = RowQueue(kernels)
    seen = 0
    for band in bands:
        value = band.take()
        for span in [(value, 0, kernels.rows(value))] if step.opens else band.take_skip() or []:
            waiting.push(*span)
            del span
        fresh = guard.activate(value, affine)
        del value
        seen += kernels.count(fresh)
        pieces += fresh
        del fresh
        if seen == height and below:
            pieces += kernels.edge(step, width)
        while (rows := _whole(step.gives(kernels.count(pieces)), limit, 1 if seen == height else grain)) > 0:
            aside = _beside(kernels, waiting, rows) if waiting.rows else None
            out = guard.conv(kernels.span(pieces, 0, step.reads(rows)), aside if step.closes else None)
            done = Band(out, None if step.closes else aside)
            del out, aside
            pieces = kernels.span(pieces, rows * step.stride, kernels.count(pieces))
            yield done


def _beside(kernels: Kernels[T], waiting: RowQueue[T], rows: int) -> list[Span[T]]:
    """Take rows of the skip. Those that go on waiting are copied, so that the others can be freed."""
    taken = waiting.take_spans(rows) if kernels.scattered else [(waiting.take(rows), 0, rows)]
    waiting.shrink()
    return taken


def _whole(rows: int, limit: int, grain: int) -> int:
    """Return how many of `rows` rows to convolve now: whole grains, at most `limit` rows."""
    return min(rows // grain * grain, limit)


def attend(
    kernels: Kernels[T],
    step: Step,
    weights: Callable[[], Any],
    affine: Affine,
    keys: Bands[T],
    block: int,
    bands: Iterator[Band[T]],
) -> Iterator[Band[T]]:
    """Run the attention Step. Each band attends to all keys, `block` rows of keys at a time."""
    guard = Guard(kernels, step, weights)
    for band in bands:
        yield Band(guard.attend(band.take(), affine, keys, block))


def tap(store: Store[T], bands: Iterator[Band[T]]) -> Iterator[Band[T]]:
    """Store each band, and pass it on."""
    for band in bands:
        store.append(band)
        yield band


def watch(kernels: Kernels[T], bands: Iterator[Band[T]], on_rows: Callable[[int], object]) -> Iterator[Band[T]]:
    """Pass each band on, then call `on_rows` with the rows passed so far."""
    seen = 0
    for band in bands:
        assert band.value is not None
        seen += kernels.rows(band.value)
        yield band
        on_rows(seen)
