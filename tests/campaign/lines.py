"""The lines that a process prints, also if it crashes while a fork of it holds the other end of its pipe."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from contextlib import suppress


def lines_of(process: subprocess.Popen[str], rest: float = 10.0) -> queue.Queue[str]:
    """Return the lines of a process as they come. An empty one says that it has ended.

    Args:
        process: The process. If it leads a group, the forks that it leaves are ended.
        rest: Seconds after its end in which all that it printed is read.
    """
    lines: queue.Queue[str] = queue.Queue(maxsize=1000)
    leads = os.getpgid(process.pid) == process.pid
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    threading.Thread(target=_wait, args=(process, lines, reader, leads, rest), daemon=True).start()
    return lines


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            lines.put(line)


def _wait(
    process: subprocess.Popen[str], lines: queue.Queue[str], reader: threading.Thread, leads: bool, rest: float
) -> None:
    process.wait()
    if leads:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    reader.join(rest)
    while reader.is_alive() and lines.full():  # it waits for who takes the lines, not for a fork
        reader.join(rest)
    lines.put("")
