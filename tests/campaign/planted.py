"""A row whose cases fail in every way that the campaign must find (test_frame.py). It is not among the rows."""

from __future__ import annotations

import os
import signal
import time

from tests.campaign.part import Case, Part


def _sound(case: Case) -> int:
    assert not list(case.folder.iterdir())
    (case.folder / "left").mkdir()
    print("what a case prints is no outcome")
    return 2


def _fails(case: Case) -> None:
    assert case.number % 2 == 0, f"{case.rng.random()} is wrong"


def _crashes(case: Case) -> None:
    if case.number == 1:
        if os.fork() == 0:
            time.sleep(600)  # it holds the pipe to which the case tells its outcome
        os.kill(os.getpid(), signal.SIGSEGV)


def _exits(case: Case) -> None:
    if case.number == 1:
        os._exit(3)


def _hangs(case: Case) -> None:
    if case.number == 1:
        time.sleep(600)


PARTS = (
    Part("sound", "cases that pass", 1, 1, _sound),
    Part("fails", "cases that fail", 1, 1, _fails),
    Part("crashes", "cases that crash", 1, 1, _crashes),
    Part("exits", "cases that end their process", 1, 1, _exits),
    Part("hangs", "cases that do not end", 1, 1, _hangs, patience=20),
)
