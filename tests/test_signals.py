"""Tests and their children handle signals the same way, wherever the tests are started from."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.signals import RESTORED, default_signals

CHILD = """
import signal
ignored = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
print(*sorted(int(n) for n in {*ignored, *blocked}))
"""


def inherited() -> set[int]:
    """Return the signals that a child ignores or blocks."""
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    return {int(number) for number in done.stdout.split()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_a_child_handles_what_the_parent_did_not(number: signal.Signals, how: str) -> None:
    handlers = {each: signal.getsignal(each) for each in (number, signal.SIGINT)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        if how == "ignored":
            signal.signal(number, signal.SIG_IGN)
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        assert number in inherited()
        default_signals()
        assert inherited() <= RESTORED
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def test_this_process_is_interrupted_wherever_it_was_started_from() -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
