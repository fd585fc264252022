"""`Membership`: a plugin of Dask's that lets a worker take orders of a run, if it computes the same bits as the others.

A member has a resource of Dask's with the name of the run's seat, and every order needs one of it. So a worker carries
out one order at a time, and one that joins later, or is restarted, takes part only if it is like the others, and if its
machine has no more members than share its budget.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Lock, WorkerPlugin, get_worker

from zvae_tiled.cluster.anywhere import anywhere
from zvae_tiled.cluster.dask_limit import too_low, usable
from zvae_tiled.cluster.doing import doing
from zvae_tiled.cluster.likeness import Likeness, differences, likeness
from zvae_tiled.cluster.ready import Model, sources_of
from zvae_tiled.cluster.share import Share, available_here
from zvae_tiled.cluster.work import forget_held
from zvae_tiled.devices.cores import usable_cores
from zvae_tiled.errors import ClusterError
from zvae_tiled.files.protect import Source
from zvae_tiled.planner.budget import Available
from zvae_tiled.report.log import LOG


@dataclass
class Member:
    """What this worker is in a run.

    Attributes:
        share: Its part of its machine.
        sources: The files of weights as it compared them.
        peak: The most bytes in use during a task in stripes.
    """

    share: Share
    sources: tuple[Source, ...]
    peak: int = 0

    def check_weights(self) -> None:
        """Refuse to compute with weights that are no longer those that were compared.

        Raises:
            ClusterError: A file has changed since this worker became a member.
        """
        for source in self.sources:
            if source.changed:
                raise ClusterError(
                    f"{source.path} has changed on {get_worker().address} since the work began",
                    "Put the same weights at the same path on every machine, and carry it out again.",
                )


MEMBERS: dict[str, Member] = {}
"""What this worker is in each run, by the run's name."""


def member_of(run: str) -> Member:
    """Return what this worker is in a run.

    Raises:
        ClusterError: It is no member of the run.
    """
    member = MEMBERS.get(run)
    if member is None:
        problem = f"{get_worker().address} is no member of this run, or the run has ended"
        raise ClusterError(problem, "Carry it out again.")
    return member


def introduced(models: Sequence[Model], workers: Mapping[str, int]) -> tuple[Likeness, Share]:
    """Return the likeness of this worker, and its part of its machine.

    Args:
        models: The VAEs of the run.
        workers: How many workers each machine has.
    """
    worker = get_worker()
    share = _share(worker, workers.get(_host(worker), 1))
    _settle(share)
    return likeness(models), share


_entering: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()
"""Locks that each worker holds while it becomes a member, or ends being one."""


@asynccontextmanager
async def _alone(name: str, worker: Any) -> AsyncIterator[None]:
    """Hold a lock of the cluster's."""
    lock = Lock(name, scheduler_rpc=worker.scheduler, loop=worker.loop)
    try:
        async with lock:
            yield
    finally:
        if hasattr(lock, "refresh_callback"):  # else it is called every 6 s for as long as the worker lives
            lock.refresh_callback.stop()


class Membership(WorkerPlugin):
    """Makes a worker a member of a run."""

    def __init__(
        self,
        name: str,
        seat: str,
        models: Sequence[Model],
        common: Likeness,
        shares: Mapping[str, Share],
        allow: Sequence[str],
        budget: int,
    ) -> None:
        """Take what members have in common.

        Args:
            name: The run.
            seat: The name of the resource that members have.
            models: The VAEs of the run.
            common: The likeness of its members.
            shares: The part that each worker has, by its machine.
            allow: Names of differences that are allowed.
            budget: The largest budget of a machine that an order names, in bytes; 0 if none does.
        """
        self.name = name
        self._seat = seat
        self._models = models
        self._common = common
        self._shares = shares
        self._allow = allow
        self._budget = budget

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Let a worker that joins start also where this package is not installed."""
        given = self.name, self._seat, self._models, self._common, self._shares, self._allow, self._budget
        return anywhere(type(self), given, self._seat)

    async def setup(self, worker: Any) -> None:
        """Compare this worker with the others. If it is like them, it becomes a member."""
        beating = asyncio.create_task(_beat(worker))
        try:
            await self._compared(worker)
        finally:
            beating.cancel()

    async def _compared(self, worker: Any) -> None:
        # Dask may give a lost worker's task to one that is no member. Its scheduler fails if that one has no number.
        await worker.set_resources(**{self._seat: 0})
        share = self._shares.get(_host(worker)) or _share(worker, 1)
        share = _limited(share, worker)  # Dask's limit of this one may be lower than that of those before it
        if too_low(_limit(worker), share.workers, self._budget):
            LOG.warning("%s takes no orders: Dask's own limit of its memory is too low for the budget", worker.address)
            return
        _settle(share)
        own, sources = await asyncio.to_thread(self._seen)  # meanwhile the worker answers the scheduler
        if differences(self._common, own, self._allow):
            LOG.warning("%s takes no orders: it would compute other bits than the other workers", worker.address)
            return
        async with self._turn(worker), _alone(f"{self._seat} on {_host(worker)}", worker):
            if worker.plugins.get(self.name) is not self:  # the run has ended meanwhile
                return
            if await self._others(worker) >= share.workers:
                LOG.warning("%s takes no orders: the budget of this machine is shared by others", worker.address)
                return
            MEMBERS[self.name] = Member(share, sources)
            worker.metrics[self.name] = partial(doing, self.name)
            await worker.set_resources(**{self._seat: 1})

    async def _others(self, worker: Any) -> int:
        """Return how many other members this machine has."""
        workers = (await worker.scheduler.identity())["workers"]
        return sum(
            bool(each["resources"].get(self._seat))
            for address, each in workers.items()
            if address != worker.address and host_of(address) == _host(worker)
        )

    def _seen(self) -> tuple[Likeness, tuple[Source, ...]]:
        sources = sources_of(self._models)  # before they are read: who changes them meanwhile is found out
        return likeness(self._models), sources

    async def teardown(self, worker: Any) -> None:
        """End the membership. Without another one the worker keeps no VAE."""
        async with self._turn(worker):  # a setup that is still going on ends first
            MEMBERS.pop(self.name, None)
            worker.metrics.pop(self.name, None)
            if not MEMBERS:
                await asyncio.to_thread(forget_held)  # it may wait for a task that loads one
            if worker.state.total_resources.get(self._seat):
                await worker.set_resources(**{self._seat: 0})

    def _turn(self, worker: Any) -> asyncio.Lock:
        return _entering.setdefault(worker, asyncio.Lock())


BEAT = 2.0
"""Seconds between two words to the scheduler. Dask says none until all plugins are set up, and ends who is silent."""


async def _beat(worker: Any) -> None:
    while True:
        await asyncio.sleep(BEAT)
        await worker.heartbeat()


def _share(worker: Any, workers: int) -> Share:
    """Return the part of this worker, of so many on its machine."""
    available = usable(_limit(worker), workers, available_here())
    return Share(workers, available.size, available.limit)


def _limited(share: Share, worker: Any) -> Share:
    """Return a part of a machine's memory as Dask lets a worker use it."""
    available = usable(_limit(worker), share.workers, Available(share.available, share.limit))
    return replace(share, available=available.size, limit=available.limit)


def _limit(worker: Any) -> int:
    """Return the bytes to which Dask limits this worker; 0 if it does not."""
    return worker.memory_manager.memory_limit or 0


def _host(worker: Any) -> str:
    return host_of(worker.address)


def host_of(address: str) -> str:
    """Return the machine in a worker's address."""
    return address.rpartition("://")[2].rpartition(":")[0]


_settling = threading.Lock()


def _settle(share: Share) -> None:
    """Let native kernels use this worker's part of the cores, unless its environment says how many, and keep memory."""
    with _settling:
        _keep_memory()
        os.environ.setdefault("ZVAE_THREADS", str(share.threads(usable_cores())))


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's numbers for what `mallopt` sets."""


def _keep_memory() -> None:
    """Undo what Dask sets for its workers: each large block would come from the system anew, which costs a third more.

    The values are those that glibc comes to by itself after it has freed large blocks.
    """
    if sys.platform == "linux" and os.environ.get("MALLOC_TRIM_THRESHOLD_") == "65536":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 64 << 20)
