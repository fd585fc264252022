"""`decode_many`: thousands of pictures, by this process or by the workers of a Dask cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from typing import Any

from zvae_tiled.checks import path_of, shown
from zvae_tiled.cluster.arguments import check_allowed, check_client
from zvae_tiled.cluster.manifest import manifest as opened
from zvae_tiled.cluster.ready import Ready, checked, in_turn, with_tiny
from zvae_tiled.cluster.row import Overall, Row
from zvae_tiled.errors import InputError
from zvae_tiled.order import Order
from zvae_tiled.report.progress import Progress


def decode_many(
    orders: Sequence[Order],
    client: Any = None,
    *,
    manifest: str | os.PathLike[str] | None = None,
    progress: Callable[[Overall], object] | None = None,
    allow: Sequence[str] = (),
) -> list[Row]:
    """Carry out many orders, of decodes and of encodes. One that fails does not stop the others.

    Orders are grouped by VAE and by size. A worker holds one VAE at a time, and workers of one machine share its budget
    evenly. Workers read and write the files themselves, so the paths must be theirs too.

    Args:
        orders: The orders.
        client: A ``distributed.Client``. Default: this process carries the orders out, one after another.
        manifest: A file to which a line of JSON is appended for each order that ends.
        progress: Called with the `Overall` progress, about once a second.
        allow: Differences between workers that are allowed: ``versions``, ``kernels``. Bits may differ then.

    Returns:
        The rows, in the order of `orders`. ``row.error`` says why an order failed.

    Raises:
        InputError: An order or another argument is invalid. Nothing was started.
        OutputError: A file cannot be written, is written twice, or is read by an order. Nothing was started.
        ClusterError: Workers are missing, are not alike, or were all lost.
        MissingExtraError: `client` is set, and Dask is not installed.
    """
    if progress is not None and not callable(progress):
        raise InputError(f"progress must be a function that takes an Overall, it is {shown(progress)}")
    if client is not None:
        check_client(client)
    check_allowed(allow)
    lines = None if manifest is None else path_of(manifest, "manifest")
    found = checked(orders, () if lines is None else (lines,))
    rows: dict[int, Row] = {}
    with ExitStack() as stack:
        add = None if lines is None else stack.enter_context(opened(lines)).add
        work = carried_out([each for each in found if isinstance(each, Ready)], client, progress, allow)
        for number, row in chain(_refused(orders, found), work):
            rows[number] = row
            if add is not None:
                add(row)
    return [rows[number] for number in range(len(orders))]


def carried_out(
    ready: Sequence[Ready],
    client: Any = None,
    progress: Callable[[Overall], object] | None = None,
    allow: Sequence[str] = (),
) -> Iterator[tuple[int, Row]]:
    """Carry out checked orders. Yield the number and the row of each as it ends. The arguments are `decode_many`'s."""
    tell = progress or (lambda _: None)
    if client is None or not ready:
        yield from _here(ready, tell)
        return
    from zvae_tiled.cluster.crew import crew
    from zvae_tiled.cluster.dask_limit import named
    from zvae_tiled.cluster.extra import hushed
    from zvae_tiled.cluster.run import Run

    placed = with_tiny(ready)
    models = sorted({model for each in placed for model in each.models}, key=repr)
    budget = named(each.order for each in placed)
    with hushed(), crew(client, models, allow, budget) as members:
        yield from Run(members, placed, tell).rows()


def _refused(orders: Sequence[Order], found: Sequence[Ready | Exception]) -> Iterator[tuple[int, Row]]:
    for number, (order, each) in enumerate(zip(orders, found, strict=True)):
        if isinstance(each, Exception):
            yield number, Row(order.source, tuple(order.targets), "failed", each)


def _here(ready: Sequence[Ready], tell: Callable[[Overall], object]) -> Iterator[tuple[int, Row]]:
    """Carry out orders in this process."""
    from zvae_tiled.cluster.work import forget_held

    try:
        yield from _one_by_one(ready, tell)
    finally:
        forget_held()  # the process goes on, and needs its memory


def _one_by_one(ready: Sequence[Ready], tell: Callable[[Overall], object]) -> Iterator[tuple[int, Row]]:
    from zvae_tiled.cluster.work import held
    from zvae_tiled.order import run

    start, total, done = time.monotonic(), sum(each.pixels for each in ready) or 1, 0
    of_caller: list[Exception] = []
    for finished, each in enumerate(in_turn(ready)):

        def listen(progress: Progress, done: int = done, finished: int = finished, pixels: int = each.pixels) -> None:
            share = min(0.999, (done + progress.done * pixels) / total)
            try:
                tell(Overall(share, finished, len(ready), 1, time.monotonic() - start))
            except Exception as error:
                of_caller.append(error)
                raise

        began = time.monotonic()
        row = Row(each.order.source, tuple(each.order.targets), "done")
        try:
            report = run(each.order, held(each.order), listen).to_dict()
            del report["timeline"]
            row = replace(row, report=report)
        except Exception as error:  # the device may run out of memory for this picture, but not for the next
            if of_caller:
                raise of_caller[0] from of_caller[0].__cause__
            row = replace(row, state="failed", error=error)
        done += each.pixels
        yield each.number, replace(row, seconds=time.monotonic() - began)
    tell(Overall(1.0, len(ready), len(ready), 1, time.monotonic() - start))
