"""Dask's own limit of a worker's memory. A worker that comes near it gets no tasks, and is killed soon after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from zvae_tiled.errors import ClusterError, InputError
from zvae_tiled.order import Order
from zvae_tiled.planner.budget import Available, parse_budget
from zvae_tiled.wording import size

PAUSES = 0.8
"""Share of its limit above which Dask gives a worker no tasks. At 0.95 it kills it."""


def is_paused(facts: Mapping[str, Any]) -> bool:
    """Return whether a worker waits for memory, by what the scheduler knows of it. One that computes frees some."""
    return facts.get("status") == "paused" and not facts["metrics"].get("task_counts", {}).get("executing", 0)


def usable(limit: int, workers: int, found: Available) -> Available:
    """Return what of a machine's memory is for its workers, if Dask limits each of them.

    Args:
        limit: The limit of each, in bytes; 0 if there is none.
        workers: How many workers the machine has.
        found: Its memory.
    """
    most = int(limit * PAUSES) * workers
    return Available(most, "Dask's memory limit of its workers") if limit and most < found.size else found


def too_low(limit: int, workers: int, budget: int) -> bool:
    """Return whether a worker's part of a machine's budget is more than Dask's limit lets it use."""
    return bool(limit) and budget // workers > int(limit * PAUSES)


def named(orders: Iterable[Order]) -> int:
    """Return the largest budget that orders name in bytes; 0 if none does. A share of the memory follows the limit."""
    most = 0
    for order in orders:
        if order.plan is None:
            with suppress(InputError):  # this order fails by itself
                most = max(most, parse_budget(order.budget, Available(0)).size)
    return most


def check_limits(workers: Mapping[str, Mapping[str, Any]], budget: int) -> None:
    """Refuse workers that Dask would stop before they have used their part of a budget.

    Args:
        workers: What the scheduler knows of them, by their addresses.
        budget: The budget of a machine that orders name.

    Raises:
        ClusterError: Dask limits one to less. The error says which.
    """
    from zvae_tiled.cluster.membership import host_of

    hosts = Counter(map(host_of, workers))
    for address, facts in workers.items():
        limit, count = facts["memory_limit"], hosts[host_of(address)]
        if too_low(limit, count, budget):
            raise ClusterError(
                f"worker {address} has {size(budget // count)} of the budget, and Dask's own limit of its memory is "
                f"{size(limit)}: Dask gives it no tasks above {PAUSES:.0%} of that, and kills it above 95%",
                f"Start it with --memory-limit 0, or use at most {int(limit * PAUSES) * count // 10**6}MB.",
            )
