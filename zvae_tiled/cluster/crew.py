"""`Crew`: the workers of a Dask cluster that take the orders of one run. They were compared with each other first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple
from uuid import uuid4
from weakref import WeakSet

from zvae_tiled.cluster.dask_limit import check_limits, is_paused
from zvae_tiled.cluster.introductions import introductions, shares_of
from zvae_tiled.cluster.likeness import check_alike, own_likeness
from zvae_tiled.cluster.names import left_seat, measured_together, taken_seat
from zvae_tiled.cluster.ready import Model
from zvae_tiled.cluster.scheduler import ANSWER, spoken, workers_of
from zvae_tiled.cluster.work import Task, carry_out
from zvae_tiled.errors import ClusterError
from zvae_tiled.report.log import LOG

WAIT = 60.0
"""Seconds that the first worker of a cluster has to appear, and to become a member if another one is lost."""


class Seen(NamedTuple):
    """A member, as the scheduler sees it.

    Attributes:
        folder: The folder that Dask made for it. One that is started again has another, perhaps at the same address.
        heard: When it was last heard, by some clock.
        paused: Whether it computes nothing, and Dask gives it nothing: its memory is close to Dask's limit.
    """

    folder: str
    heard: float
    paused: bool = False


class Work(NamedTuple):
    """What a worker does for a run, as it said last.

    Attributes:
        computes: Tasks that it computes now, or that wait for what it computes.
        holds: Results that it holds.
        receives: Results that it asked other workers for and waits for.
        asked: How often it has asked another worker, for any run.
        member: Whether it is a member of the run.
        paused: Whether it computes nothing, and Dask gives it nothing, as in `Seen`.
    """

    computes: int
    holds: int
    receives: int
    asked: int
    member: bool = True
    paused: bool = False


class Crew:
    """The members of one run.

    Attributes:
        name: The run's name.
        seat: The name of the resource that members have (see `names`).
        count: How many workers became members at the start.
    """

    def __init__(self, client: Any, name: str, seat: str, count: int) -> None:
        """Take a client of Dask's, whose workers are members."""
        self._client = client
        self.name = name
        self.seat = seat
        self.count = count
        self._sent = 0
        self._futures: WeakSet[Any] = WeakSet()
        self._hear: Callable[[dict[str, Any]], object] = lambda _: None

    def members(self) -> dict[str, Seen]:
        """Return the workers that take orders now, by their addresses.

        Raises:
            ClusterError: The scheduler does not answer.
        """
        workers = {at: facts for at, facts in workers_of(self._client).items() if facts["resources"].get(self.seat)}
        return {
            at: Seen(facts["local_directory"], facts["last_seen"], is_paused(facts)) for at, facts in workers.items()
        }

    def work(self) -> dict[str, Work]:
        """Return what each worker does for this run. One that is no member says nothing of it.

        Raises:
            ClusterError: The scheduler does not answer.
        """
        workers = workers_of(self._client)
        return {at: self._work(facts) for at, facts in workers.items()}

    def _work(self, facts: Mapping[str, Any]) -> Work:
        does, moved = facts["metrics"].get(self.name, {}), facts["metrics"].get("transfer", {})
        counted = does.get("computes", 0), does.get("holds", 0), does.get("receives", 0)
        member = bool(facts["resources"].get(self.seat))
        return Work(*counted, moved.get("incoming_count_total", 0), member, is_paused(facts))

    def send(self, task: Task) -> Any:
        """Let a member carry out an order. Return Dask's future of the `Row`."""
        self._sent += 1
        key = f"{self.name}-{task.ready.number}-{self._sent}"
        return self._submit(key, carry_out, task)

    def submit(self, key: str, home: str, task: Callable[..., Any], *options: Any) -> Any:
        """Let a task be carried out by the worker at `home`, or by another member if that one is lost.

        Args:
            key: The task's name in this run.
            home: The address of a worker.
            task: What it does.
            options: Its arguments. Futures among them stand for their results.
        """
        return self._submit(f"{self.name}-{key}", task, *options, workers=[home], allow_other_workers=True)

    def _submit(self, key: str, task: Callable[..., Any], *options: Any, **place: Any) -> Any:
        with spoken("the scheduler takes no tasks"), measured_together():
            future = self._client.submit(task, *options, key=key, pure=False, resources={self.seat: 1}, **place)
        self._futures.add(future)
        return future

    def gathering(self, futures: Sequence[Any]) -> Future[list[Any]]:
        """Begin to fetch results. What is returned has them at the end, or raises a task's error."""
        together = self._client.gather(list(futures), asynchronous=True)
        return asyncio.run_coroutine_threadsafe(together, self._client.loop.asyncio_loop)

    def cancel(self, futures: Sequence[Any]) -> None:
        """Let members stop what they do. They remove what is unfinished."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.cancel(list(futures), force=True)

    def listen(self, hear: Callable[[dict[str, Any]], object]) -> None:
        """Call `hear` with every report of progress."""
        self._hear = hear
        self._client.subscribe_topic(self.seat, self._handle)

    def _handle(self, event: tuple[float, dict[str, Any]]) -> None:
        if event[1]["run"] == self.name:  # else it is a late one, of the run that had the seat before
            self._hear(event[1])

    def end(self) -> None:
        """Stop all that members still do for this run, end their memberships, and give the seat back."""
        self._hear = lambda _: None  # Dask's client keeps the handler
        with suppress(Exception):  # the scheduler may be gone
            self._client.unsubscribe_topic(self.seat)
        self.cancel(list(self._futures))  # else members of the next run would carry them out
        with suppress(Exception):
            left = left_seat(self._client, self.name, self.seat)
            asyncio.run_coroutine_threadsafe(left, self._client.loop.asyncio_loop).result(ANSWER)


def _some(crew: Crew) -> bool:
    """Return whether there are members, once there are some, or no workers any more, or `WAIT` is over."""
    ends = time.monotonic() + WAIT
    while not (found := crew.members()) and crew.work() and time.monotonic() < ends:
        time.sleep(0.5)
    return bool(found)


@contextmanager
def crew(client: Any, models: Sequence[Model], allow: Sequence[str] = (), budget: int = 0) -> Iterator[Crew]:
    """Compare the workers of a cluster, and make them members while the block runs.

    Args:
        client: A client of Dask's.
        models: The VAEs of the run.
        allow: Differences that are allowed. They were checked by `check_allowed`.
        budget: The largest budget of a machine that an order names, in bytes; 0 if none does.

    Raises:
        ClusterError: There is no worker, one does not answer, Dask limits one to less than its part of the budget, or
            they are not alike.
    """
    from zvae_tiled.cluster.membership import Membership

    own = own_likeness(models)
    with spoken("the cluster does not answer"), suppress(OSError):  # a TimeoutError is one; it is told below
        client.wait_for_workers(1, timeout=WAIT)
    check_limits(workers_of(client), budget)
    told = introductions(client, models)
    if not told:
        advice = "Start some: dask worker ADDRESS --nthreads 1 --memory-limit 0"
        raise ClusterError("the cluster has no workers", advice)
    common = check_alike(own, {address: each for address, (each, _) in told.items()}, allow)
    shares = shares_of({address: share for address, (_, share) in told.items()})
    name = f"zvae-{uuid4().hex[:12]}"
    with spoken("the workers cannot be prepared"):
        seat = taken_seat(client, name)
    members = Crew(client, name, seat, len(told))
    try:
        try:
            with spoken("the workers cannot be prepared"):
                client.register_plugin(Membership(name, seat, models, common, shares, allow, budget))
        except ClusterError as error:
            if not isinstance(error.__cause__, OSError) or not _some(members):  # else a worker was lost meanwhile
                raise
            LOG.warning("a worker was lost while the run began: %s", error.__cause__)
        yield members
    finally:
        members.end()
