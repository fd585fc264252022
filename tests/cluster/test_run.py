"""A run of orders on a crew of stand-ins: what becomes of an order whose row is lost before it was fetched."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from tests.cluster.places import orders
from zvae_tiled.cluster import run
from zvae_tiled.cluster.crew import Seen
from zvae_tiled.cluster.ready import Ready
from zvae_tiled.cluster.row import Row
from zvae_tiled.cluster.run import Run
from zvae_tiled.cluster.work import Task


class Order:
    """An order that is finished. Its row is there, or has been lost with the worker that made it."""

    def __init__(self, row: Row | None) -> None:
        self.fetched: Future[list[Row]] = Future()
        if row is not None:
            self.fetched.set_result([row])

    def add_done_callback(self, call: Callable[[Any], object]) -> None:
        call(self)


class Crew:
    """One member. It is lost as it has sent word of its first row, and comes back after three looks."""

    name, seat, count = "zvae-1", "zvae-0", 1

    def __init__(self) -> None:
        self.sent: list[Task] = []
        self._looks = 0

    def members(self) -> dict[str, Seen]:
        self._looks += bool(self.sent)
        return {"tcp://a:1": Seen("worker-1" if self._looks < 3 else "worker-2", float(self._looks))}

    def send(self, task: Task) -> Order:
        self.sent.append(task)
        order = task.ready.order
        return Order(None if len(self.sent) == 1 else Row(order.source, tuple(order.targets), "done"))

    def listen(self, hear: Callable[[dict[str, Any]], object]) -> None:
        del hear

    def gathering(self, orders: list[Order]) -> Future[list[Row]]:
        (order,) = orders
        return order.fetched

    def cancel(self, futures: Any) -> None:
        del futures


@pytest.mark.usefixtures("place")
def test_an_order_whose_row_is_lost_before_it_is_fetched_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOOK", 0.01)
    crew: Any = Crew()
    ready = [Ready(number, order, (), (1, 8, 8, 3)) for number, order in enumerate(orders("out")[:2])]
    rows = list(Run(crew, ready, lambda _: None).rows())
    assert {number: row.state for number, row in rows} == {0: "done", 1: "done"}
    assert [task.ready.number for task in crew.sent].count(crew.sent[0].ready.number) == 2
