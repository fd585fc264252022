"""What happens to workers in tests: one dies at a task, is cut off from others, or says how much memory it took."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin


class Dies(WorkerPlugin):
    """Kills a worker when it has carried out a task of a run: the first worker that has carried out so many."""

    name = "dies"

    def __init__(self, flag: str, at: int) -> None:
        """Take a file that says that one was killed, and the number of the task."""
        self._flag = flag
        self._at = at
        self.done = 0

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Count a task."""
        del kwargs
        if (start, finish) != ("executing", "memory") or not str(key).startswith("zvae-"):
            return
        self.done += 1
        if self.done == self._at:
            try:
                os.close(os.open(self._flag, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


class ReadsForLong(WorkerPlugin):
    """Lets a worker that is started from now on take long to become a member of a run."""

    name = "reads-for-long"

    def __init__(self, seconds: float) -> None:
        """Take how long."""
        self._seconds = seconds

    def setup(self, worker: Any) -> None:
        """Let its weights be read for long, unless it is a member already."""
        membership: Any = import_module("zvae_tiled.cluster.membership")
        seen = membership.Membership._seen

        def slow(own: Any) -> Any:
            if worker.status.name == "running" and worker.periodic_callbacks["heartbeat"].is_running():
                return seen(own)  # it was there before
            time.sleep(self._seconds)
            return seen(own)

        membership.Membership._seen = slow


def done(dask_worker: Any) -> int:
    """How many tasks `Dies` has counted on this worker."""
    number: int = dask_worker.plugins["dies"].done
    return number


def cut(others: list[str], dask_worker: Any) -> None:
    """Let this worker reach no other one, as behind a firewall. It still reaches the scheduler."""
    connect = dask_worker.rpc.connect

    async def connected(address: str, *args: Any, **options: Any) -> Any:
        if address in others:
            raise OSError(f"no route to {address}")
        return await connect(address, *args, **options)

    dask_worker.rpc.connect = connected


def mend(dask_worker: Any) -> None:
    """Let this worker reach the others again."""
    vars(dask_worker.rpc).pop("connect", None)


def forget() -> int:
    """Return free memory to the system, forget how much this process ever had, and say how much it has."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return mark("VmRSS")


def mark(name: str) -> int:
    """What Linux says of this process's memory, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
