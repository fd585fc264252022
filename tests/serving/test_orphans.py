"""A stub of Triton's whose server is killed, without Triton: it ends, whatever it waits for, and leaves no memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.running import environment
from tests.support.waiting import lives, wait
from zvae_tiled.adapters import triton_end

SHARED = Path("/dev/shm")

STUB = """
import ctypes, os, sys
from zvae_tiled.adapters.triton_end import end_with
end_with(os.getppid())
print(os.getpid(), flush=True)
ctypes.PyDLL(None).sleep(1000)  # with Python's lock, as Triton's stub waits for an answer
"""

SERVER = """
import signal, subprocess, sys
signal.signal(signal.SIGCHLD, lambda *_: print("unloaded", flush=True))
stub = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
signal.signal(signal.SIGUSR1, lambda *_: (stub.kill(), stub.wait()))
while True:
    signal.pause()
"""


@contextmanager
def served(region: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """Yield a server and its stub, which share a region of memory."""
    words = [sys.executable, "-c", SERVER, STUB, region.name]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        try:
            assert server.stdout is not None
            yield server, psutil.Process(int(server.stdout.readline()))
        finally:
            if server.poll() is None:
                for child in psutil.Process(server.pid).children():
                    child.kill()
                server.kill()
            region.unlink(missing_ok=True)


@pytest.mark.skipif(not SHARED.is_dir(), reason="Triton is for Linux")
@pytest.mark.parametrize("unloads", [False, True], ids=["killed", "unloads its model"])
def test_a_stub_ends_with_its_server(unloads: bool) -> None:
    region = SHARED / f"triton_python_backend_shm_region_{uuid.uuid4()}"
    region.touch()
    with served(region) as (server, stub):
        (watch,) = stub.children()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # Ctrl-C, and the end of a service, reach all
            watch.send_signal(number)
        if unloads:
            server.send_signal(signal.SIGUSR1)
            assert server.stdout is not None
            assert server.stdout.readline() == "unloaded\n"
            wait(lambda: not lives(watch))
            assert region.exists(), "it is the server's own, which lives"
            return
        server.kill()
        server.wait()
        wait(lambda: not (lives(stub) or lives(watch)))
        assert not region.exists()


def test_a_watch_that_is_just_starting_outlives_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell ignores no signal yet as it starts; a busy machine lets it start slowly."""
    watches: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(triton_end, "_watches", watches)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    triton_end.end_with(os.getppid())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    (watch,) = watches
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            watch.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            watch.wait(0.1)
    finally:
        watch.kill()
        watch.wait()
