"""Carries out orders on a crew: as many at a time as it has members. Rows come as they are finished."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from zvae_tiled.cluster.crew import Crew
from zvae_tiled.cluster.ready import Ready, in_turn
from zvae_tiled.cluster.row import Overall, Row
from zvae_tiled.cluster.watch import LOOK, Watch, lost
from zvae_tiled.cluster.work import Task, fresh


class Run:
    """Orders that are being carried out."""

    def __init__(self, crew: Crew, orders: Sequence[Ready], tell: Callable[[Overall], object]) -> None:
        """Take checked orders.

        Args:
            crew: Who carries them out.
            orders: The orders.
            tell: Called with the progress of all of them, about once a second.
        """
        self._crew = crew
        self._tell = tell
        self._start = time.monotonic()
        self._waiting = deque(Task(crew.name, crew.seat, each, fresh(each.paths)) for each in in_turn(orders))
        self._sent: dict[Any, Task] = {}
        self._ended: SimpleQueue[Any] = SimpleQueue()
        self._pixels, self._done = sum(each.pixels for each in orders) or 1, 0
        self._count, self._finished = len(orders), 0
        self._shares: dict[int, float] = {}
        self._watch = Watch(crew)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yield the number and the row of each order, as they end. The end of the crew stops the others.

        Raises:
            ClusterError: All workers, or the scheduler, were lost.
        """
        self._crew.listen(self._hear)
        self._look()
        while self._waiting or self._sent:
            self._send()
            try:
                future = self._ended.get(timeout=LOOK)
            except Empty:
                future = None
            if future is not None and future in self._sent and (row := self._row(future)) is not None:
                yield row
            if time.monotonic() - self._watch.looked > LOOK:
                self._look()
        self._report()

    def _send(self) -> None:
        """Give each member one order: more would count as failed with it if it died."""
        members = sum(not seen.paused for seen in self._watch.members.values())
        while self._waiting and len(self._sent) < members:
            task = self._waiting.popleft()
            future = self._crew.send(task)
            self._sent[future] = task
            future.add_done_callback(self._ended.put)

    def _row(self, future: Any) -> tuple[int, Row] | None:
        """Fetch a row from the worker that made it; None if that was lost first, and Dask has forgotten the order."""
        ready, fetching = self._sent[future].ready, self._crew.gathering([future])
        try:
            while future in self._sent:
                try:
                    (row,) = fetching.result(timeout=LOOK)
                    break
                except Exception as error:
                    if not isinstance(error, TimeoutError) or fetching.done():  # else it takes long
                        row = Row(ready.order.source, tuple(ready.order.targets), "failed", lost(error))
                        break
                    self._look()
            else:
                return None
        finally:
            fetching.cancel()
        del self._sent[future]
        self._finished += 1
        self._done += ready.pixels
        self._shares.pop(ready.number, None)
        return ready.number, row

    def _look(self) -> None:
        """See who is a member.

        Dask forgets orders whose members were all lost at the same time, so they are sent again.
        """
        if self._watch.look(f"{len(self._waiting) + len(self._sent)} orders are left"):
            self._again()
        self._report()

    def _again(self) -> None:
        lost = dict(self._sent)
        self._sent.clear()
        self._crew.cancel(list(lost))
        self._waiting.extendleft(lost.values())

    def _hear(self, event: dict[str, Any]) -> None:
        self._shares[event["number"]] = event["done"]

    def _report(self) -> None:
        running = sum(self._shares.get(task.ready.number, 0.0) * task.ready.pixels for task in self._sent.values())
        left = self._finished < self._count
        done = min(0.999, (self._done + running) / self._pixels) if left else 1.0
        seconds = time.monotonic() - self._start
        self._tell(Overall(done, self._finished, self._count, len(self._watch.members), seconds))
