"""Starts workers as processes of this machine, with the settings that decodes need, or connects to those of others."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

from zvae_tiled.cluster.extra import INSTALL, distributed, hushed
from zvae_tiled.devices.cores import usable_cores
from zvae_tiled.errors import ClusterError, InputError, ZvaeError
from zvae_tiled.inputs.arrays import imported

SETTINGS = {
    "distributed.scheduler.work-stealing": False,  # it moves what a worker holds
    "distributed.scheduler.active-memory-manager.start": False,  # it drops copies that a lost worker would need
    "distributed.scheduler.worker-ttl": "30s",  # Dask's own is 5 minutes of silence
    "distributed.deploy.lost-worker-timeout": "10 minutes",  # after Dask's own 15 s it starts a lost worker no more
    "distributed.comm.timeouts.connect": "5s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.log-length": 1000,  # each run writes two lines; Dask's own limit is 10,000, of 1 kB each
    "distributed.worker.profile.enabled": False,  # it looks at the stack 100 times a second
    "distributed.nanny.pre-spawn-environ": {},  # it would change this process too, and let a worker free all its memory
}
"""Dask's settings for workers of this machine."""

THREADS = ("ZVAE_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Variables that limit threads. Workers get their part of the cores in them, where the environment does not say it."""

CERTIFICATES = ", ".join(f"DASK_DISTRIBUTED__COMM__TLS__{name}" for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY"))
"""Variables of Dask's configuration that name a client's certificates."""

CONNECT = 10.0
"""Seconds that a scheduler has to accept a connection."""

_MOST = 1 << 20
"""Bytes that are read of a scheduler's file. Dask writes one of a few hundred."""

_WRITING = 5.0
"""Seconds that a scheduler's file may be empty. Dask creates it, and writes it a moment later."""

_NAME_THE_FILE = "Name the file that `dask scheduler --scheduler-file` wrote."


@contextmanager
def local_workers(count: int) -> Iterator[Any]:
    """Start workers on this machine, and yield a client of Dask's. They share its cores and its memory evenly.

    Raises:
        InputError: `count` is not a whole number from 1 to 1024.
        ClusterError: They do not start.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 1024:
        raise InputError(f"workers must be a whole number from 1 to 1024, it is {count!r}")
    dask = distributed()
    config = imported("dask.config", INSTALL)

    threads = str(max(1, usable_cores() // count))
    shares = {"distributed.nanny.environ": dict.fromkeys(THREADS, threads)}
    with hushed(), config.set({**SETTINGS, **shares}):
        try:
            with _without_interrupts():
                cluster = dask.LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,  # the plan's budget is the limit
                    dashboard_address=None,
                    silence_logs=50,
                )
        except ZvaeError:
            raise
        except Exception as error:
            problem = f"{count} workers do not start: {type(error).__name__}: {error}"
            raise ClusterError(problem, "Try fewer.") from error
        with _closed_quietly(cluster), _closed_quietly(dask.Client(cluster, set_as_default=False)) as client:
            yield client


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a scheduler, and yield a client of Dask's.

    Args:
        address: ``tcp://HOST:PORT``, ``tls://HOST:PORT``, or the file of a scheduler. Certificates for TLS are those of
            Dask's configuration (``distributed.comm.tls``).

    Raises:
        ClusterError: No scheduler answers there, the address has no port, the file is not one of a scheduler, or
            certificates for ``tls://`` are not named.
    """
    if not os.path.isfile(address) and not re.search(r":[0-9]+/?$", address):
        raise ClusterError(
            f"{address} is no address of a scheduler, and no file of one",
            "Write tcp://HOST:8786, as `dask scheduler` prints it, or the path of its --scheduler-file.",
        )
    found = _read_address(address) if os.path.isfile(address) else address
    with hushed():
        _check_certificates(found)
        try:
            client = distributed().Client(found, timeout=CONNECT, set_as_default=False)
        except Exception as error:
            problem = f"no scheduler answers at {address}: {type(error).__name__}: {error}"
            raise ClusterError(problem, "Start one with `dask scheduler`. It prints its address.") from error
        with _closed_quietly(client):
            yield client


def _read_address(file: str) -> str:
    """Return the address in the file that `dask scheduler --scheduler-file` writes. It may be writing it now."""
    deadline = time.monotonic() + _WRITING
    try:
        while not os.path.getsize(file) and time.monotonic() < deadline:
            time.sleep(0.05)
        with open(file, "rb") as opened:
            address = json.loads(opened.read(_MOST)).get("address")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        problem = f"{file} cannot be read as the file of a scheduler: {error}"
        raise ClusterError(problem, _NAME_THE_FILE) from error
    if not isinstance(address, str):
        raise ClusterError(f"{file} names no address of a scheduler", _NAME_THE_FILE)
    return address


def _check_certificates(address: str) -> None:
    """Refuse an address with TLS where certificates are not named. Dask's client would wait for 20 s as it ends."""
    if not address.startswith("tls://"):
        return
    try:
        context = distributed().Security().get_connection_args("client").get("ssl_context")
    except Exception as error:
        problem = f"the certificates for {address} cannot be read: {type(error).__name__}: {error}"
        raise ClusterError(problem, f"Look at {CERTIFICATES}, or at comm.tls in Dask's configuration.") from error
    if context is None:
        problem = f"{address} needs certificates, and Dask's configuration does not name all of them"
        raise ClusterError(problem, f"Set {CERTIFICATES} to files, on this machine too.")


@contextmanager
def _closed_quietly(entered: Any) -> Iterator[Any]:
    """Enter a client or a cluster of Dask's. An error as it closes is ignored: it would hide why the work ended."""
    inner = entered.__enter__()
    try:
        yield inner
    finally:
        with suppress(Exception):
            entered.__exit__(None, None, None)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C in the terminal does not reach: the program that started them ends them."""
    resource_tracker.ensure_running()  # here, for the thread that starts it would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
