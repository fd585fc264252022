"""Signals that end a command: as exceptions, which remove unfinished files on their way."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDINGS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Exit codes of the signals that end a command: those that shells report."""

AGAIN = 0.01
"""Seconds after which a signal is sent again whose exception Python has dropped."""


class Ended(BaseException):
    """SIGTERM or SIGHUP as an exception: it unwinds the stack as Ctrl-C does, which removes unfinished files."""

    def __init__(self, number: signal.Signals) -> None:
        """Keep the signal."""
        self.number = number


@contextmanager
def endable() -> Iterator[None]:
    """Let signals end the block by an exception. A second one does not interrupt the removal of unfinished files.

    Python drops an exception that is raised while an object is freed, as any bytecode may be. The signal is sent again.
    """
    before = {number: signal.getsignal(number) for number in ENDINGS}
    handled = [number for number, old in before.items() if old is not signal.SIG_IGN]  # nohup ignores SIGHUP
    raised: list[BaseException] = []
    again: list[threading.Timer] = []

    def end(number: int, _: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raised[:] = [KeyboardInterrupt() if number == signal.SIGINT else Ended(signal.Signals(number))]
        raise raised[0]

    def dropped(unraisable: Any) -> None:
        if unraisable.exc_value in raised:
            for each in handled:
                signal.signal(each, end)
            number = getattr(unraisable.exc_value, "number", signal.SIGINT)
            again.append(threading.Timer(AGAIN, os.kill, (os.getpid(), number)))
            again[-1].start()
        else:
            told(unraisable)

    told, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        for number in handled:
            signal.signal(number, end)
        yield
    finally:
        for timer in again:  # one that comes late would end the process, or what comes after the command
            timer.cancel()
            timer.join()
        for number in handled:
            signal.signal(number, before[number])
        sys.unraisablehook = told
