"""What workers do for other runs is not taken for work of this one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from zvae_tiled.cluster import crew
from zvae_tiled.cluster.crew import Crew, Work
from zvae_tiled.cluster.doing import doing


def test_only_tasks_of_the_run_are_counted() -> None:
    states = ("executing", "memory", "memory", "flight", "constrained", "waiting", "fetch")
    others = {f"zvae-b-{number}": SimpleNamespace(state=state) for number, state in enumerate(states)}
    tasks = {f"zvae-a-{number}": SimpleNamespace(state=state) for number, state in enumerate(states)}
    does = {"computes": 2, "holds": 2, "receives": 1}
    assert doing("zvae-a", _worker(tasks, 1)) == does
    assert doing("zvae-a", _worker(tasks | others, 2)) == does
    assert doing("zvae-a", _worker(others, 1)) == dict.fromkeys(does, 0)


def test_a_task_that_waits_for_another_runs_task_is_not_idle_and_one_that_waits_for_nothing_is() -> None:
    waits = {"zvae-a-0": SimpleNamespace(state="constrained")}
    runs = {"other": SimpleNamespace(state="executing")}
    assert doing("zvae-a", _worker(waits | runs, 1))["computes"] == 1
    assert doing("zvae-a", _worker(waits, 0))["computes"] == 0  # Dask has paused this worker


def test_a_worker_that_computes_for_another_run_alone_does_nothing_for_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = {"task_counts": {"executing": 1, "memory": 3}, "transfer": {"incoming_bytes": 5, "incoming_count_total": 2}}
    own = {"zvae-a": {"computes": 0, "holds": 1, "receives": 0}}
    told = {"member": busy | own, "stranger": busy}
    facts = {at: {"metrics": each, "resources": {"seat": float(each is not busy)}} for at, each in told.items()}
    monkeypatch.setattr(crew, "workers_of", lambda _: facts)
    work = Crew(None, "zvae-a", "seat", 1).work()
    assert work == {"member": Work(0, 1, 0, 2), "stranger": Work(0, 0, 0, 2, member=False)}


def _worker(tasks: dict[str, Any], executing: int) -> Any:
    return SimpleNamespace(state=SimpleNamespace(tasks=tasks, executing=range(executing)))
