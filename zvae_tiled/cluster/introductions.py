"""Asks every worker of a cluster what it is, before work begins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from zvae_tiled.cluster.likeness import Likeness
from zvae_tiled.cluster.names import measured_together
from zvae_tiled.cluster.ready import Model
from zvae_tiled.cluster.scheduler import spoken, workers_of
from zvae_tiled.cluster.share import Share
from zvae_tiled.errors import ClusterError, ZvaeError

INTRODUCTION = 120.0
"""Seconds that a worker has to say what it is: it reads all weights for their digest, and decodes a small picture."""


def introductions(client: Any, models: Sequence[Model]) -> dict[str, tuple[Likeness, Share]]:
    """Ask every worker what it is. One that ends meanwhile is left out."""
    from zvae_tiled.cluster.membership import host_of, introduced

    addresses = list(workers_of(client))
    hosts = dict(Counter(map(host_of, addresses)))
    with spoken("the workers cannot be asked what they are"), measured_together():
        asked = {at: client.submit(introduced, models, hosts, workers=[at], pure=False) for at in addresses}
    ends, told = time.monotonic() + INTRODUCTION, {}
    for address, future in asked.items():
        while True:
            try:
                told[address] = future.result(timeout=2)
                break
            except ZvaeError as error:
                raise error.about(f"worker {address}") from error
            except TimeoutError as error:
                if address not in workers_of(client):
                    break
                if time.monotonic() > ends:
                    raise ClusterError(f"worker {address} does not answer", "Stop it, or start it again.") from error
            except Exception as error:
                problem = f"worker {address} cannot be used: {type(error).__name__}: {error}"
                raise ClusterError(problem, "Install zvae-tiled, of the same version, where it runs.") from error
    return told


def shares_of(told: dict[str, Share]) -> dict[str, Share]:
    """Return the part of the workers of each machine: the smallest that one of them reports."""
    from zvae_tiled.cluster.membership import host_of

    shares: dict[str, Share] = {}
    for address, share in told.items():
        host = host_of(address)
        if host not in shares or share.available < shares[host].available:
            shares[host] = share
    return shares
