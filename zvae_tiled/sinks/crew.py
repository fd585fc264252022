"""`Crew`: threads that compress pieces of a picture. What they return is taken in the order of the pieces."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from zvae_tiled.devices.cores import usable_cores

STATE = 300_000
"""Bytes of zlib's own tables for one piece."""

MOST = 1 << 25
"""The most bytes of pieces at work, unless one alone has more: a wide picture is not held once for each core."""

Done = TypeVar("Done")


def at_work(size: int, count: int) -> int:
    """Return how many pieces are compressed at a time: one for each core, and one that waits for a core.

    Args:
        size: Bytes of a piece.
        count: Pieces of the picture.
    """
    return max(1, min(usable_cores() + 1, MOST // size, count))


class Crew(Generic[Done]):
    """Compresses pieces on threads. A picture of one piece needs no thread."""

    def __init__(self, most: int, take: Callable[[Done], None]) -> None:
        """Start no thread yet.

        Args:
            most: The most pieces at a time, of `at_work`.
            take: Takes what was made of each piece, in this thread and in the order of the pieces.
        """
        self._most = most
        self._take = take
        self._threads = ThreadPoolExecutor(most, "zvae-compress")
        self._waiting: deque[Future[Done]] = deque()

    def give(self, work: Callable[[], Done]) -> None:
        """Hand over a piece. If as many as may be are at work, wait for the first of them."""
        if self._most == 1:
            self._take(_checked(work))
            return
        while len(self._waiting) >= self._most:
            self._take_one()
        try:
            self._waiting.append(self._threads.submit(work))
        except RuntimeError as error:  # the system starts no further thread
            raise OSError(None, f"no thread can compress: {error}") from error

    def finish(self) -> None:
        """Take what is left, and end the threads."""
        while self._waiting:
            self._take_one()
        self.stop()

    def stop(self) -> None:
        """Drop the pieces that nobody works on, and end the threads. A second call changes nothing."""
        self._threads.shutdown(cancel_futures=True)
        self._waiting.clear()

    def _take_one(self) -> None:
        first = self._waiting.popleft()
        try:
            done = _checked(first.result)
        finally:
            del first  # it holds the error, whose frames would hold it: rows would stay in memory
        self._take(done)


def _checked(work: Callable[[], Done]) -> Done:
    """Return what `work` does. It raises an OSError, which says that the file cannot be written, or a MemoryError."""
    try:
        return work()
    except zlib.error as error:
        raise OSError(None, f"compression failed: {error}") from error
    finally:
        del work
