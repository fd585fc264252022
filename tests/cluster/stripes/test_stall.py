"""Workers that wait for each other in vain end a run. A transfer that takes long does not."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from zvae_tiled.cluster.crew import Work
from zvae_tiled.cluster.stall import STALL, Stall
from zvae_tiled.errors import ClusterError

LONG = 10 * int(STALL)
"""Seconds."""


def watched(told: Iterable[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    """Look once a second at a worker that says this."""
    clock = [0.0]
    monkeypatch.setattr("zvae_tiled.cluster.stall.time", SimpleNamespace(monotonic=lambda: clock[0]))
    said: list[Work] = []

    class Crew:
        def work(self) -> dict[str, Work]:
            return {"a": said[-1], "b": Work(0, 1, 0, 0)}

    crew: Any = Crew()
    stall = Stall(crew)
    for each in told:
        clock[0] += 1
        said.append(each)
        stall.look("it is unfinished")


@pytest.mark.parametrize(
    "told",
    [
        [Work(0, 1, 1 << 30, 1)] * LONG,  # one large key, over a slow network
        [Work(0, second // 80, 1 << 30, second // 80) for second in range(LONG)],  # one after another
        [Work(1, 1, 0, 1)] * LONG,
    ],
)
def test_a_worker_that_computes_or_receives_is_waited_for(told: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    watched(told, monkeypatch)


@pytest.mark.parametrize(
    "told",
    [
        [Work(0, 1, 0, 1)] * LONG,
        [Work(0, 1, 1 << 30, second) for second in range(LONG)],  # each attempt is refused at once
        [Work(0, 1, (second % 32 < 30) << 30, second // 32) for second in range(LONG)],  # none is answered
    ],
)
def test_workers_that_do_not_reach_each_other_are_not(told: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="computed nothing and received nothing"):
        watched(told, monkeypatch)


def test_a_worker_that_dask_has_paused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError) as stalled:
        watched([Work(0, 1, 0, 1, paused=True)] * LONG, monkeypatch)
    assert stalled.value.advice == (
        "Dask gives a no tasks, for its memory is close to its limit: start it with --memory-limit 0."
    )


def test_workers_that_took_no_part_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError) as stalled:
        watched([Work(0, 1, 0, 1, member=False)] * LONG, monkeypatch)
    assert stalled.value.advice.startswith("a took no part, and may have been given what a lost worker was to do: stop")
