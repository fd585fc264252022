"""Checks that a decode leaves nothing behind, and ways to make it fail."""

from __future__ import annotations

import errno
import gc
import math
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import psutil
import pytest

from zvae_tiled.devices import heap
from zvae_tiled.devices.counted import active_memory
from zvae_tiled.errors import OutputError


def state() -> tuple[int, int, int, bool]:
    """State that a decode may not change: open files, counted memory, MLX's cache limit, and that no ceiling is set."""
    limit = mx.set_cache_limit(0)
    mx.set_cache_limit(limit)
    return psutil.Process().num_fds(), active_memory(), limit, heap._ceiling is None


@contextmanager
def nothing_left(*folders: Path) -> Iterator[None]:
    """Check that the folders and the process are afterwards as they were."""
    files = [{path: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    gc.collect()  # garbage that is freed meanwhile would look like a change
    gc.freeze()  # what is alive need not be looked through again by the next test
    before = state()
    yield
    deadline = time.monotonic() + 60
    while state() != before and time.monotonic() < deadline:
        time.sleep(0.01)  # MLX frees some arrays only when a thread of its own is done with them
    assert state() == before
    assert [{path: path.read_bytes() for path in folder.iterdir()} for folder in folders] == files


def refusal(decode: Callable[..., Any], *args: Any, **options: Any) -> str:
    """Return an OutputError's message, and drop the error: its frames hold memory."""
    try:
        decode(*args, **options)
    except OutputError as refused:
        return str(refused)
    pytest.fail("this should have been refused")


def spilled_files(folder: Path) -> dict[str, int]:
    """Return the open files without a name in this folder, and their sizes."""
    found = {}
    for handle in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(handle)
            if target.startswith(f"{folder}/"):
                found[target] = handle.stat().st_size
        except OSError:  # the folder that this loop itself had open
            continue
    return found


class FullDisk:
    """An `os` whose disk has `room` bytes left: the last write that fits is a partial one."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.os = SimpleNamespace(pwrite=self.write, preadv=os.preadv)

    def write(self, handle: int, data: memoryview, offset: int) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.pwrite(handle, data[: self.room], offset)
        self.room -= written
        return written


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the system itself refuse to make files larger than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Calls:
    """Counts the calls of functions it wraps, and presses Ctrl-C in the call after the first `until`."""

    def __init__(self, until: float = math.inf) -> None:
        self.until = until
        self.count = 0

    def __call__(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.count += 1
            if self.count > self.until:
                raise KeyboardInterrupt
            return original(*args)

        return counted
