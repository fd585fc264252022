"""Names that runs use one after another. Dask keeps what it knows by names for as long as the cluster is there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from zvae_tiled.cluster.extra import INSTALL
from zvae_tiled.cluster.scheduler import ANSWER
from zvae_tiled.errors import ClusterError
from zvae_tiled.inputs.arrays import imported

SPAN = {"name": ("zvae_tiled",), "ids": ("zvae_tiled",)}
"""The name under which Dask adds up what it measures of all tasks."""

ATTEMPTS = 100
"""How often a free name is looked for. Each time another run may take it first."""


def taken_seat(client: Any, run: str) -> str:
    """Take the lowest name that no run on this cluster has now, and return it.

    It is a name among the scheduler's datasets: the scheduler refuses a name that exists. `left_seat` gives it back.

    Raises:
        ClusterError: Others were always first.
    """
    for _ in range(ATTEMPTS):
        taken = set(client.list_datasets(callback_timeout=ANSWER))
        seat = next(name for name in map("zvae-{}".format, itertools.count()) if name not in taken)
        try:
            client.publish_dataset(run, name=seat, callback_timeout=ANSWER)
            return seat
        except KeyError:  # another run was first
            pass
    raise ClusterError(f"a free name for this run was looked for {ATTEMPTS} times, and others took it", "Try again.")


async def left_seat(client: Any, run: str, seat: str) -> None:
    """End all memberships of a run, then give its name back. It runs on the client's loop.

    If a worker does not answer, the name stays taken: that worker might take the orders of the next run.
    """
    with suppress(ValueError):  # the scheduler does not know the run: nobody became a member
        await client.unregister_worker_plugin(run)
    await client.unpublish_dataset(seat)


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
