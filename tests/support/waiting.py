"""Waiting for what a server does."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def lives(process: psutil.Process) -> bool:
    """Whether a process runs. One that has ended may be kept by a container's first process."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
