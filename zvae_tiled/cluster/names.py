"""Names that runs use one after another. Dask keeps what it knows by names for as long as the cluster is there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zvae_tiled.cluster.extra import INSTALL
from zvae_tiled.inputs.arrays import imported

SPAN = {"name": ("zvae_tiled",), "ids": ("zvae_tiled",)}
"""The name under which Dask adds up what it measures of all tasks."""


def taken_seat(client: Any, run: str) -> str:
    """Return a name that no other run on this cluster has now, and take it: the lowest that is free.

    The scheduler holds it among its datasets, whose names it gives away once. `leave_seat` gives it back.
    """
    taken = set(client.list_datasets())
    for number in itertools.count():
        seat = f"zvae-{number}"
        if seat not in taken:
            try:
                client.publish_dataset(run, name=seat)
                return seat
            except KeyError:  # another run was first
                pass
    raise AssertionError("numbers do not end")


def leave_seat(client: Any, seat: str) -> None:
    """Give the name back. No worker may have a resource of this name any more."""
    client.unpublish_dataset(seat)


@contextmanager
def measured_together() -> Iterator[None]:
    """Let Dask add up what it measures of the tasks that are sent in the block, under `SPAN` or the caller's span.

    Else it begins a new span with each run, and every worker keeps eight numbers of each.
    """
    dask = imported("dask", INSTALL)
    if "span" in dask.get_annotations():
        yield
        return
    with dask.annotate(span=SPAN):
        yield
