"""The memory that reading a file takes: the growth of a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import environment
from zvae_tiled.devices.table import likely_device

LINUX = pytest.mark.skipif(
    sys.platform != "linux" or likely_device() != "cpu",
    reason="only Linux tells how much memory was used; and on a GPU nothing is read in a forked process",
)

MEASURE = """
import json, os, resource, sys
from pathlib import Path

def memory(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

for path in sys.argv[1:]:
    reading, writing = os.pipe()
    if os.fork() == 0:  # each with the memory of a process that has read nothing
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        try:
            read(path)
            told = "read"
        except Refused as error:
            told = str(error)
        os.write(writing, json.dumps([memory("VmHWM") - before, told[:20_000]]).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    with open(reading) as pipe:
        print(pipe.read(), flush=True)
"""


def measured(imports: str, paths: list[Path]) -> list[tuple[int, str]]:
    """Return the bytes that reading each file took, and "read" or the error's message.

    Args:
        imports: Code that imports ``read``, and ``Refused``, the error that is expected.
        paths: The files.
    """
    # Python 3.12 warns of forks beside threads, such as a BLAS has. This process computes nothing.
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", imports + MEASURE, *map(str, paths)]
    child = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert child.returncode == 0, child.stderr
    return [tuple(json.loads(line)) for line in child.stdout.splitlines()]
