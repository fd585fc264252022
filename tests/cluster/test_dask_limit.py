"""Dask's own limit of a worker's memory: a budget that it would stop is refused, and any other one follows it."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from zvae_tiled.cluster.dask_limit import check_limits, named, too_low, usable
from zvae_tiled.cluster.likeness import Likeness
from zvae_tiled.cluster.share import Share
from zvae_tiled.errors import ClusterError
from zvae_tiled.order import Order
from zvae_tiled.planner.budget import Available

pytest.importorskip("distributed", reason="the extra zvae-tiled[cluster] is not installed")

GB = 10**9


def of(budget: str | None) -> Order:
    return Order("decode", "vae", "a.npy", "a.png", budget=budget)


def test_a_worker_whose_part_of_the_budget_is_above_its_limit_is_named_with_what_would_do() -> None:
    workers = {"tcp://a:1": {"memory_limit": 0}, "tcp://b:1": {"memory_limit": 5 * GB}}
    check_limits(workers, 4 * GB)
    with pytest.raises(ClusterError, match=r"worker tcp://b:1 has 12 GB .* is 5 GB") as refused:
        check_limits(workers, 12 * GB)
    assert refused.value.advice == "Start it with --memory-limit 0, or use at most 4000MB."
    check_limits({**workers, "tcp://b:2": {"memory_limit": 5 * GB}}, 8 * GB)  # two of one machine share it


def test_only_budgets_in_bytes_are_named() -> None:
    assert named([of(None), of("60%"), of("no budget")]) == named([]) == 0
    assert named([of("3GB"), of("12GB"), of(None)]) == 12 * GB


def test_a_share_of_the_memory_is_one_of_what_dask_lets_workers_use() -> None:
    there = Available(32 * GB)
    assert usable(0, 2, there) == there
    assert usable(20 * GB, 2, there) == there
    less = usable(5 * GB, 2, there)
    assert less.size == 8 * GB
    assert "Dask's memory limit" in less.limit
    order = Share(2, less.size, less.limit).limited(of("100%"))
    assert not too_low(5 * GB, 2, 2 * int(str(order.budget)[:-1]))


def test_a_worker_that_joins_later_with_too_low_a_limit_takes_no_orders(caplog: pytest.LogCaptureFixture) -> None:
    from zvae_tiled.cluster.membership import MEMBERS, Membership

    seats: list[float] = []

    async def set_resources(**seat: float) -> None:
        seats.extend(seat.values())

    worker: Any = SimpleNamespace(
        address="tcp://a:1", memory_manager=SimpleNamespace(memory_limit=5 * GB), set_resources=set_resources
    )
    shares = {"a": Share(2, 32 * GB, "")}
    with caplog.at_level(logging.WARNING, "zvae_tiled"):
        joining = Membership("run", "seat", (), Likeness((), (), ()), shares, (), 12 * GB)
        asyncio.run(joining.setup(worker))
    assert seats == [0]
    assert "run" not in MEMBERS
    assert "tcp://a:1 takes no orders: Dask's own limit of its memory" in caplog.text


def test_a_worker_that_joins_later_has_no_more_memory_than_dask_lets_it_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine's part is that of workers before it, which Dask may have limited less."""
    from zvae_tiled.cluster import membership

    async def set_resources(**_: float) -> None:
        return

    class Settled(Exception):
        """The part that a worker takes, before it compares itself."""

    def settle(share: Share) -> None:
        raise Settled(share)

    monkeypatch.setattr(membership, "_settle", settle)
    for limit, part in ((5 * GB, Share(2, 8 * GB, "Dask's memory limit of its workers")), (0, Share(2, 32 * GB, ""))):
        worker: Any = SimpleNamespace(
            address="tcp://a:1", memory_manager=SimpleNamespace(memory_limit=limit), set_resources=set_resources
        )
        joining = membership.Membership("run", "seat", (), Likeness((), (), ()), {"a": Share(2, 32 * GB, "")}, (), 0)
        with pytest.raises(Settled) as settled:
            asyncio.run(joining.setup(worker))
        assert settled.value.args == (part,)
