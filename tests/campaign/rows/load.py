"""Load: 24 threads of one process and 8 processes decode at once; so do Dask's workers, and a Triton server answers.

Same bits, and nothing grows.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.campaign.asked import DOORS, EACH_CLIENT, REQUESTS, Clients, expected
from tests.campaign.crowd import SEEDS
from tests.campaign.held import Rounds, held
from tests.campaign.part import Case, Part
from tests.campaign.served import NEEDS, Served, can_serve, serve
from tests.cluster.places import fill, orders, pictures
from tests.support.running import ROOT, environment
from zvae_tiled.cluster import decode_many
from zvae_tiled.cluster.local import local_workers

MINUTES = 30
"""The aim of each part."""

THREADS, PROCESSES = 24, 8
EACH = 2
"""Decodes of a thread in a round. Each of the other processes decodes `TURNS` times."""
TURNS = 12

ROUND = 3
"""How often each order is given in a round of the workers."""

_crowd, _workers, _server = Rounds(), Rounds(), Rounds()


@cache
def crowd() -> list[subprocess.Popen[str]]:
    """Start all processes. They end with this one, whose pipe they read."""
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.crowd", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        for threads in [THREADS, *[1] * PROCESSES]
    ]


def attempt(case: Case) -> int:
    """Let all decode at once, and compare what they found, and what they hold."""
    for number, process in enumerate(crowd()):
        print(TURNS if number else EACH, file=process.stdin, flush=True)
    told = [_told(process) for process in crowd()]
    found = {tuple(each) for one in told for each in one["found"]}
    assert len(found) == 2 * SEEDS, f"decodes of the same latents differ: {sorted(found)}"
    _crowd.add([one["held"] for one in told])
    return THREADS * EACH + PROCESSES * TURNS


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"a process ended with {process.wait()}"
    told: dict[str, Any] = json.loads(line)
    return told


@cache
def workers() -> Any:
    """Start two workers of Dask, which end with this process; return the client."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(local_workers(2))


@cache
def place() -> Path:
    """Return a folder with what orders name."""
    folder = Path(tempfile.mkdtemp(prefix="orders-"))
    fill(folder)
    (folder / "out").mkdir()
    return folder


@cache
def _first() -> dict[str, bytes]:
    return {}


def ordered(case: Case) -> int:
    """Let two workers carry out orders, and compare what they wrote with the first time, and what they hold."""
    os.chdir(place())
    wanted = [each for _ in range(ROUND) for each in orders("out") if "bad" not in each.source]
    wanted = [replace(each, target=each.target.replace("/", f"/{i}-")) for i, each in enumerate(wanted)]
    rows = decode_many(wanted, workers())
    assert all(row.state == "done" for row in rows), [str(row.error) for row in rows]
    found = pictures("out")
    assert len(found) > len(wanted), "the batch is two files"
    first = _first()
    first.update(found if not first else {})
    assert found == first, "the files of two rounds differ"
    pids = workers().run(os.getpid)
    _workers.add([held(pids[address]) for address in sorted(pids)])
    return len(wanted)


@cache
def serving() -> tuple[Served, Clients]:
    """Start a Triton server, which ends with this process; return it with its clients."""
    server = serve(Path(tempfile.mkdtemp(prefix="served-")))
    return server, Clients(server)


def asked(case: Case) -> int:
    """Let all clients ask a server at once, and compare what they got with decodes, and what it holds."""
    server, clients = serving()
    drawn = case.rng.sample(REQUESTS, EACH_CLIENT * len(DOORS))
    for request, answer in clients.ask(drawn):
        assert answer == expected(request), f"the answer to {request} is not that of a decode"
    _server.add([server.held()])
    return len(drawn)


WORKERS = Part(
    "workers",
    "decodes and encodes by two workers of Dask: the same, and the same files",
    MINUTES,
    40,
    ordered,
    needs="the extra zvae-tiled[cluster]",
    possible=lambda: find_spec("distributed") is not None,
    timed=True,
)

SERVER = Part(
    "server",
    "requests of six clients at once to a Triton server, by HTTP, gRPC and streams of rows: the bytes of a decode, and "
    "no growth of the server and its models' processes",
    MINUTES,
    2 * EACH_CLIENT * len(DOORS),
    asked,
    needs=NEEDS,
    possible=can_serve,
    timed=True,
)

PARTS = (
    Part(
        "decodes",
        "decodes by 24 threads of one process and by 8 processes at once: the same bits, and no growth of memory, "
        "descriptors and threads",
        MINUTES,
        2 * (THREADS * EACH + PROCESSES * TURNS),
        attempt,
        timed=True,
    ),
    WORKERS,
    SERVER,
)
