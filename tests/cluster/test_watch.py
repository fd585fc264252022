"""A run whose workers are paused by Dask, for their memory is close to its limit, ends. One that computes goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from zvae_tiled.cluster import crew
from zvae_tiled.cluster.crew import Crew, Seen
from zvae_tiled.cluster.watch import PATIENCE, Watch
from zvae_tiled.errors import ClusterError

LONG = 2 * int(PATIENCE)
"""Seconds."""


def watched(*workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for long, once a second, at workers of which the scheduler says this in turn."""
    clock = [0.0]
    monkeypatch.setattr("zvae_tiled.cluster.watch.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(crew, "workers_of", lambda _: {"tcp://a:1": workers[int(clock[0]) % len(workers)]})
    watch = Watch(Crew(None, "run", "seat", 1))
    for _ in range(LONG):
        watch.look("2 orders are left")
        clock[0] += 1


def worker(status: str, executing: int) -> dict[str, Any]:
    metrics = {"task_counts": {"executing": executing}}
    return {"resources": {"seat": 1}, "local_directory": "a", "last_seen": 0.0, "status": status, "metrics": metrics}


def test_workers_that_dask_gives_no_tasks_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="close to its limit, and 2 orders are left") as ended:
        watched(worker("paused", 0), monkeypatch=monkeypatch)
    assert "--memory-limit 0" in ended.value.advice


@pytest.mark.parametrize("other", [worker("running", 0), worker("paused", 1)])
def test_a_worker_that_works_now_and_then_is_waited_for(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(other, worker("paused", 0), monkeypatch=monkeypatch)


def test_only_members_that_are_not_paused_are_given_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "workers_of", lambda _: {"a": worker("paused", 0), "b": worker("running", 0)})
    members = Crew(None, "run", "seat", 2).members()
    assert members == {"a": Seen("a", 0.0, True), "b": Seen("a", 0.0, False)}
