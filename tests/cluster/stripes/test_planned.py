"""The plan of a striped picture is one for the workers that are there when the stripes are given out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest

from tests.engine.test_grain import CONFIG
from zvae_tiled.cluster.crew import Seen
from zvae_tiled.cluster.share import Share
from zvae_tiled.cluster.striped import _planned
from zvae_tiled.cluster.stripes.machine import Machine, for_all
from zvae_tiled.cluster.stripes.worker import described, planned
from zvae_tiled.devices.here import this_device
from zvae_tiled.devices.native_cpu.choice import native_workspace
from zvae_tiled.devices.native_cpu.library import Library, open_library
from zvae_tiled.errors import BudgetError
from zvae_tiled.families import PRESETS
from zvae_tiled.order import Order
from zvae_tiled.planner.calibration import MarginWorkspace

TWO, ONE, OTHER, NONE = ("a", "b"), ("b",), ("a",), ()
MACHINES = {"a": Machine(4, 1.5), "b": Machine(5, 1.0)}
SHARES = {"a": Share(1, 1 << 30, ""), "b": Share(1, 1 << 33, "")}


class Dwindling:
    """A crew with other members at each look, and at last those of the last one. It notes for whom it plans."""

    name = "run"
    count = 2

    def __init__(self, looks: Sequence[tuple[str, ...]]) -> None:
        self._looks = list(looks)
        self.planned_for: list[tuple[Machine, ...]] = []
        self.budget = 0

    def members(self) -> dict[str, Seen]:
        return dict.fromkeys(self._looks.pop(0) if len(self._looks) > 1 else self._looks[0], Seen("folder", 0.0))

    def submit(self, key: str, home: str, task: Callable[..., Any], *options: Any) -> Any:
        del key
        if task is described:
            return MACHINES[home], SHARES[home]
        _, _, _, workers, stripes, self.budget, _, machines = options
        assert workers == len(machines)
        self.planned_for.append(machines)
        return SimpleNamespace(plan=None, stripes=range(stripes))

    def gathering(self, futures: Sequence[Any]) -> Future[list[Any]]:
        done: Future[list[Any]] = Future()
        done.set_result(list(futures))
        return done


def test_a_worker_that_dask_has_paused_gets_no_stripe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask would give its tasks to another one, which then holds the stripes of two."""
    crew: Any = Dwindling([TWO])
    seen = {"a": Seen("folder", 0.0, paused=True), "b": Seen("folder", 0.0)}
    monkeypatch.setattr(crew, "members", lambda: seen)
    _, workers = _planned(crew, Order("decode", "vae", "a.npy", "a.png"), 8, 8, None)
    assert workers._homes == ["b"]
    seen["b"] = Seen("folder", 0.0, paused=True)  # they may go on
    _, workers = _planned(crew, Order("decode", "vae", "a.npy", "a.png"), 8, 8, None)
    assert workers._homes == ["a", "b"]


@pytest.mark.parametrize(
    ("looks", "planned_for"),
    [
        ((TWO,), [TWO]),
        ((TWO, ONE), [TWO, ONE]),
        ((TWO, NONE, ONE), [TWO, ONE]),
        ((OTHER, ONE), [OTHER, ONE]),
        ((ONE, TWO), [ONE]),
    ],
)
def test_a_plan_is_one_for_the_workers_that_get_stripes_and_those_that_end_meanwhile_get_none(
    looks: Sequence[tuple[str, ...]], planned_for: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zvae_tiled.cluster.watch.ASSEMBLY", 0.0)
    crew: Any = Dwindling(looks)
    order = Order("decode", "vae", "a.npy", "a.png")
    plan, workers = _planned(crew, order, 8, 8, None)
    assert crew.planned_for == [tuple(MACHINES[home] for home in homes) for homes in planned_for]
    assert len(plan.stripes) == len(planned_for[-1])
    assert tuple(workers._homes) == planned_for[-1]
    assert f"{crew.budget}B" == SHARES[planned_for[-1][0]].limited(order).budget  # the smallest of them


def test_a_plan_is_one_for_the_machines_of_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    crew: Any = Dwindling([TWO])
    order = Order("decode", "vae", "a.npy", "a.png", dtype="float32")
    _planned(crew, order, 8, 8, None)
    (machines,) = crew.planned_for
    assert machines == (MACHINES["a"], MACHINES["b"])
    vae = SimpleNamespace(config=CONFIG, dtype=mx.float32, weight_bytes=0)
    monkeypatch.setattr("zvae_tiled.cluster.stripes.worker.held", lambda _: vae)
    plan = planned(order, 8, 8, 2, 2, 1 << 40, 1, machines).plan
    assert plan.device == for_all(this_device(mx.float32), machines)


class Earnest(Dwindling):
    """A crew of two, which plans."""

    def __init__(self, workers: tuple[int, int]) -> None:
        super().__init__([TWO])
        self._shares = {home: Share(count, 1 << 40, "") for home, count in zip(TWO, workers, strict=True)}

    def submit(self, key: str, home: str, task: Callable[..., Any], *options: Any) -> Any:
        return (MACHINES[home], self._shares[home]) if task is described else task(*options)


@pytest.mark.parametrize("workers", [(1, 1), (1, 3), (3, 2)])
def test_the_budget_that_is_named_is_enough_on_the_machine_that_most_workers_share(
    workers: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = SimpleNamespace(config=CONFIG, dtype=mx.float32, weight_bytes=0)
    monkeypatch.setattr("zvae_tiled.cluster.stripes.worker.held", lambda _: vae)

    def peak_of(budget: int) -> int:
        crew: Any = Earnest(workers)
        order = Order("decode", "vae", "a.npy", "a.png", dtype="float32", budget=f"{budget}B")
        return _planned(crew, order, 24, 20, None)[0].plan.predicted_peak

    with pytest.raises(BudgetError) as refused:
        peak_of(1000)
    needed, most = refused.value.needed, max(workers)
    assert 0.99 * needed < most * peak_of(needed) <= needed
    with pytest.raises(BudgetError) as again:
        peak_of(int(0.99 * needed))
    assert again.value.needed == needed


def test_a_device_for_all_machines_needs_what_any_of_them_needs() -> None:
    library = open_library()
    if not isinstance(library, Library):
        pytest.skip(library)
    machines = MACHINES.values()
    alone = [native_workspace(next(iter(library.built.values())), each.threads) for each in machines]
    together = for_all(replace(this_device(), workspace=alone[0]), machines).workspace
    margins = [MarginWorkspace(each, MACHINES["a"].margin) for each in alone]
    most = set[int]()
    for step in PRESETS["wan2.2"].chain("decode").steps:
        for rows, name in product((1, 3, 64), ("attend", "keys") if step.kind == "attention" else ("conv",)):
            each = [getattr(space, name)(step, rows, 512, 2) for space in margins]
            assert getattr(together, name)(step, rows, 512, 2) == max(each)
            most.add(each.index(max(each)))
    assert most == {0, 1}  # fewer threads need more at times
