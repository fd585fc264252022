"""A stub of Triton's whose server is killed, without Triton: it ends, whatever it waits for, and leaves no memory."""

from __future__ import annotations

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
