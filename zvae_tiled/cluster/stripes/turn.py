"""Lets one picture at a time be computed in stripes on a cluster: workers hold their stripes between two tasks.

Each run plans with the whole budget of every machine. Whole pictures on the same cluster take their memory beside it
while they are decoded (docs/clusters.md).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from zvae_tiled.cluster.extra import distributed
from zvae_tiled.cluster.scheduler import ANSWER, spoken
from zvae_tiled.errors import InputError
from zvae_tiled.report.log import LOG

NAME = "zvae-stripes"
"""The cluster's lock. Its scheduler takes it from a client that has said nothing for 30 seconds."""

ASK = 5.0
"""Seconds between two questions whether it is this run's turn."""

LEAVE = 5.0
"""Seconds to say that the turn is over. The scheduler finds it out by itself, too."""


_mine = threading.local()
"""Whether this thread has its turn. A second one, asked for by a function that is told the progress, never comes."""


@contextmanager
def turn(client: Any) -> Iterator[None]:
    """Wait until no other picture is computed in stripes on this cluster, and let none be begun while the block runs.

    Args:
        client: A client of Dask's.

    Raises:
        InputError: This thread computes a picture in stripes already.
        ClusterError: The scheduler does not answer.
    """
    if getattr(_mine, "turn", False):
        raise InputError("a picture is computed in stripes in this thread", "Begin the next one when it is done.")
    with spoken("the cluster does not answer"):
        lock = distributed().Lock(NAME, scheduler_rpc=client.scheduler, loop=client.loop)
    try:
        told, mine = False, False
        while not mine:
            with spoken("the scheduler does not answer"):
                mine = client.sync(lock.acquire, timeout=ASK if told else 0, callback_timeout=ANSWER)
            if not mine and not told:
                LOG.warning("another picture is computed in stripes on this cluster: it is waited for")
                told = True
        _mine.turn = True
        try:
            yield
        finally:
            _mine.turn = False
            with suppress(Exception):  # the scheduler may be gone
                client.sync(lock.release, callback_timeout=LEAVE)
    finally:
        if hasattr(lock, "refresh_callback"):  # else it is called every 6 s for as long as the client lives
            client.loop.add_callback(lock.refresh_callback.stop)
