"""Asks every worker of a cluster what it is, before work begins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from zvae_tiled.cluster.dask_limit import is_paused
from zvae_tiled.cluster.likeness import Likeness
from zvae_tiled.cluster.names import measured_together
from zvae_tiled.cluster.ready import Model
from zvae_tiled.cluster.scheduler import ANSWER, spoken, workers_of
from zvae_tiled.cluster.share import Share
from zvae_tiled.errors import ClusterError, ZvaeError
from zvae_tiled.report.log import LOG

INTRODUCTION = 120.0
"""Seconds that a worker has to say what it is: it reads all weights for their digest, and decodes a small picture.

They begin when it carries out nothing else.
"""


def introductions(client: Any, models: Sequence[Model]) -> dict[str, tuple[Likeness, Share]]:
    """Ask every worker what it is. One that ends meanwhile is left out."""
    from zvae_tiled.cluster.membership import host_of, introduced

    addresses = list(workers_of(client))
    hosts = dict(Counter(map(host_of, addresses)))
    with spoken("the workers cannot be asked what they are"), measured_together():
        asked = {at: client.submit(introduced, models, hosts, workers=[at], pure=False) for at in addresses}
    ends, told, busy = time.monotonic() + INTRODUCTION, {}, set[str]()
    for address, future in asked.items():
        while True:
            try:
                told[address] = future.result(timeout=2)
                break
            except ZvaeError as error:
                raise error.about(f"worker {address}") from error
            except Exception as error:
                if not isinstance(error, TimeoutError) or future.status == "error":  # else the two seconds are over
                    problem = f"worker {address} cannot be used: {type(error).__name__}: {error}"
                    raise ClusterError(problem, "Install zvae-tiled, of the same version, where it runs.") from error
                facts = workers_of(client).get(address)
                if facts is None:
                    break
                if _does_other_work(client, facts, future.key):
                    ends = time.monotonic() + INTRODUCTION
                    if address not in busy:
                        LOG.warning("%s carries out other work: it is waited for", address)
                        busy.add(address)
                elif time.monotonic() > ends:
                    raise _silent(address, facts) from error
    return told


def _silent(address: str, facts: Mapping[str, Any]) -> ClusterError:
    """Return the error of a worker that does not say what it is."""
    if is_paused(facts):
        problem = f"Dask gives worker {address} no tasks, for its memory is close to Dask's limit of it"
        return ClusterError(problem, "Start it again, with --memory-limit 0.")
    return ClusterError(f"worker {address} does not answer", "Stop it, or start it again.")


def _does_other_work(client: Any, facts: Mapping[str, Any], key: str) -> bool:
    """Return whether a worker answers, executes something, and has not begun the task of this key."""
    if not facts["metrics"].get("task_counts", {}).get("executing", 0):
        return False
    with suppress(Exception):  # it does not answer, or is gone
        return not client.sync(client.scheduler.call_stack, keys=[key], callback_timeout=ANSWER)
    return False


def shares_of(told: dict[str, Share]) -> dict[str, Share]:
    """Return the part of the workers of each machine: the smallest that one of them reports."""
    from zvae_tiled.cluster.membership import host_of

    shares: dict[str, Share] = {}
    for address, share in told.items():
        host = host_of(address)
        if host not in shares or share.available < shares[host].available:
            shares[host] = share
    return shares
