"""Signals that end a command: as exceptions, which remove unfinished files on their way."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
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

    Python drops an exception that is raised while an object is freed, as any bytecode may be. Then the signal is sent
    again, until an exception of it is not dropped.
    """
    before = {number: signal.getsignal(number) for number in ENDINGS}
    handled = [number for number, old in before.items() if old is not signal.SIG_IGN]  # nohup ignores SIGHUP
    raised: list[BaseException] = []
    over = threading.Event()
    senders: list[threading.Thread] = []

    def handle(how: Any) -> None:
        for each in handled:
            signal.signal(each, how)

    def end(number: int, frame: FrameType | None) -> None:
        if any(each is dropped.__code__ for each in _codes(frame)):
            return  # Python would drop this one, too
        handle(signal.SIG_IGN)
        raised[:] = [KeyboardInterrupt() if number == signal.SIGINT else Ended(signal.Signals(number))]
        raise raised[0]

    def send(number: int) -> None:
        while not over.wait(AGAIN):
            os.kill(os.getpid(), number)

    def dropped(unraisable: Any) -> None:
        if unraisable.exc_value not in raised:
            told(unraisable)
            return
        if not senders:
            number = getattr(unraisable.exc_value, "number", signal.SIGINT)
            senders.append(threading.Thread(target=send, args=(number,)))
            senders[0].start()
        handle(end)

    told, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        handle(end)
        yield
    finally:
        handle(signal.SIG_IGN)
        over.set()
        for sender in senders:  # a signal that came later would end what follows the command
            sender.join()
        for number in handled:
            signal.signal(number, before[number])
        sys.unraisablehook = told


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    """Yield the code of a frame, and of those that called it."""
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back
