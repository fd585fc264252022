"""A stub of Triton's whose server is killed, without Triton: it ends, whatever it waits for, and leaves no memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from tests.serving.waiting import wait
from tests.support.running import environment

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
stub = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]])
signal.signal(signal.SIGUSR1, lambda *_: (stub.kill(), stub.wait(), print("unloaded", flush=True)))
while True:
    signal.pause()
"""


@pytest.mark.skipif(not SHARED.is_dir(), reason="Triton is for Linux")
@pytest.mark.parametrize("unloads", [False, True], ids=["killed", "unloads its model"])
def test_a_stub_ends_with_its_server(unloads: bool) -> None:
    region = SHARED / f"triton_python_backend_shm_region_{uuid.uuid4()}"
    region.touch()
    words = [sys.executable, "-c", SERVER, STUB, region.name]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        assert server.stdout is not None
        stub = psutil.Process(int(server.stdout.readline()))
        (watch,) = stub.children()
        if unloads:
            os.kill(server.pid, signal.SIGUSR1)
            assert server.stdout.readline() == "unloaded\n"
            wait(lambda: not lives(watch))
            assert region.exists(), "it is the server's own, which lives"
            region.unlink()
        server.kill()
    wait(lambda: not (lives(stub) or lives(watch)))
    assert not region.exists()


def lives(process: psutil.Process) -> bool:
    """Whether it runs. One that has ended may be kept by a container's first process."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
