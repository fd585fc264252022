"""Signals that end a command: as exceptions, which remove unfinished files on their way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Exit codes of the signals that end a command: those that shells report."""


class Ended(BaseException):
    """SIGTERM or SIGHUP as an exception: it unwinds the stack as Ctrl-C does, which removes unfinished files."""

    def __init__(self, number: signal.Signals) -> None:
        """Keep the signal."""
        self.number = number


@contextmanager
def endable() -> Iterator[None]:
    """Let signals end the block by an exception. A second one does not interrupt the removal of unfinished files."""
    before = {number: signal.getsignal(number) for number in ENDINGS}
    handled = [number for number, old in before.items() if old is not signal.SIG_IGN]  # nohup ignores SIGHUP

    def end(number: int, _: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else Ended(signal.Signals(number))

    try:
        for number in handled:
            signal.signal(number, end)
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
