"""Runs each Step as a generator: bands in, bands out. It keeps only the rows that it still needs.

Each generator (a transducer) pulls bands from the one before it. Zeros are added at the top and the bottom of the
map, never between bands. Nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zvae_tiled.chain import Step
from zvae_tiled.devices.kernels import Affine, Kernels, Span, T
from zvae_tiled.engine.bands import Band, RowQueue, Store
from zvae_tiled.engine.checked import shuffled
from zvae_tiled.engine.guard import Guard
from zvae_tiled.engine.keys import Keys
from zvae_tiled.engine.region import inner
from zvae_tiled.planner.region import Rows


def convolve(
    kernels: Kernels[T],
    step: Step,
    guard: Guard[T],
    affine: Affine | None,
    width: int,
    height: int,
    limit: int,
    bands: Iterator[Band[T]],
    start: int,
    computes: Rows,
) -> Iterator[Band[T]]:
    """Run a convolution Step.

    Rows of the result are convolved by whole grains, from one multiple of the device's grain in the map to another.
    Only the map's last grain may be smaller. Until a grain is complete, its input waits.

    Args:
        kernels: The device.
        step: The Step.
        guard: Runs its kernels.
        affine: Its folded norm; None if it has none.
        width: Columns of the map that is convolved.
        height: Rows of that map.
        limit: Rows to convolve at once, counted in the result, but before upsampling where that is folded. Rounded
            up to whole grains.
        bands: The Step's input, from the top of the map to the bottom.
        start: The row of the convolved map that the bands begin with, where they are a part of it.
        computes: The rows of the result to compute, as `limit` counts them.
    """
    above, below = step.zeros
    grain = kernels.grain(step)
    limit = -(-limit // grain) * grain
    grown = 1 if kernels.folds else step.factor
    first, stop = computes
    missing = max(above - first * step.stride, 0)  # rows above the map that the first result reads
    pieces = missing * kernels.edge(step, width) if missing else []
    waiting: list[RowQueue[T]] = []  # of each open skip
    # Rows above the first result's, and skips above it: the Step before gives them where it computes whole grains.
    unread, unadded = max(first * step.stride - above - start, 0), (first * step.stride - start) // grown
    seen = start
    for band in bands:
        value = band.take()
        _open(kernels, step, value, band.take_skips(), waiting)
        if unadded and waiting:
            above_all = min(unadded, waiting[0].rows)
            for queue in waiting:
                queue.take_spans(above_all)
            unadded -= above_all
        fresh = guard.activate(value, affine)
        del value
        seen += kernels.count(fresh)
        pieces += fresh
        del fresh
        if unread:
            above_all = min(unread, kernels.count(pieces))
            pieces, unread = kernels.span(pieces, above_all, kernels.count(pieces)), unread - above_all
        if seen == height and below:
            pieces += below * kernels.edge(step, width)
        most = min(limit, stop - first)
        while (rows := _whole(step.gives(kernels.count(pieces)), most, 1 if seen == height else grain)) > 0:
            aside = [_beside(kernels, queue, rows * step.stride // grown) for queue in waiting]
            out = guard.conv(kernels.span(pieces, 0, step.reads(rows)), aside[-1] if step.closes else None)
            if step.closes and not step.closes.stays:
                aside.pop()
            done = Band(out, aside)
            del out, aside
            pieces = kernels.span(pieces, rows * step.stride, kernels.count(pieces))
            first += rows
            most = min(limit, stop - first)
            yield done


def _open(kernels: Kernels[T], step: Step, value: T, skips: list[list[Span[T]]], waiting: list[RowQueue[T]]) -> None:
    """Add a band's skips to those that wait, and the one that the Step opens."""
    whole = [(value, 0, kernels.rows(value))]
    if step.joins:
        total = kernels.added(kernels.join(skips.pop()), value)
        skips.append([(total, 0, kernels.rows(total))])
        del total
    skips += [whole] if step.opens else []
    waiting += [RowQueue(kernels) for _ in skips[len(waiting) :]]
    for queue in waiting:
        for span in skips.pop(0):
            queue.push(*span)


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
    keys: Keys[T],
    bands: Iterator[Band[T]],
) -> Iterator[Band[T]]:
    """Run the attention Step. Each band attends to all keys, block by block."""
    guard = Guard(kernels, step, weights)
    for band in bands:
        yield Band(guard.attend(band.take(), affine, keys))


def shuffle(kernels: Kernels[T], step: Step, bands: Iterator[Band[T]], start: int, computes: Rows) -> Iterator[Band[T]]:
    """Run a shuffle. One that halves waits for the second row of a pair.

    Args:
        kernels: The device.
        step: The Step.
        bands: Its input.
        start: The row of the map that the bands begin with.
        computes: The rows to compute, as the smaller of the two maps has them.
    """
    waiting = RowQueue(kernels)
    unread, left = computes.first * step.stride - start, (computes.stop - computes.first) * step.stride
    for band in bands:
        waiting.push(band.take())
        if unread:  # the Step before gives rows above, where it computes whole grains
            above = min(unread, waiting.rows)
            waiting.take_spans(above)
            unread -= above
        if rows := min(waiting.rows, left) // step.stride * step.stride:
            left -= rows
            value = waiting.take(rows)
            waiting.shrink()
            done = Band(shuffled(kernels, step, value))
            del value
            yield done


def tap(kernels: Kernels[T], store: Store[T], bands: Iterator[Band[T]], top: int, wanted: Rows) -> Iterator[Band[T]]:
    """Store the wanted rows of each band, and pass the band on. The first band begins at row `top`."""
    for band in bands:
        assert band.value is not None
        rows = kernels.rows(band.value)
        low, high = max(wanted.first - top, 0), min(wanted.stop - top, rows)
        if low < high:
            store.append(band if high - low == rows else inner(kernels, band, low, high))
        top += rows
        yield band


def watch(kernels: Kernels[T], bands: Iterator[Band[T]], on_rows: Callable[[int], object]) -> Iterator[Band[T]]:
    """Pass each band on, then call `on_rows` with the rows passed so far."""
    seen = 0
    for band in bands:
        assert band.value is not None
        seen += kernels.rows(band.value)
        yield band
        on_rows(seen)
