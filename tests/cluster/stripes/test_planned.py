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
from zvae_tiled.cluster.stripes.machine import Machine, for_all, this_machine
from zvae_tiled.cluster.stripes.worker import planned
from zvae_tiled.devices.here import this_device
from zvae_tiled.devices.native_cpu.choice import native_workspace
from zvae_tiled.devices.native_cpu.library import Library, open_library
from zvae_tiled.families import PRESETS
from zvae_tiled.order import Order
from zvae_tiled.planner.calibration import MarginWorkspace

TWO, ONE, NONE = ("a", "b"), ("b",), ()
MACHINES = {"a": Machine(4, 1.5), "b": Machine(5, 1.0)}


class Dwindling:
    """A crew with other members at each look, and at last those of the last one. It notes for whom it plans."""

    name = "run"
    count = 2
    shares = {"here": Share(1, 1 << 33, "")}  # noqa: RUF012

    def __init__(self, looks: Sequence[tuple[str, ...]]) -> None:
        self._looks = list(looks)
        self.planned_for: list[int] = []
        self.machines: list[Machine] = []

    def members(self) -> dict[str, Seen]:
        return dict.fromkeys(self._looks.pop(0) if len(self._looks) > 1 else self._looks[0], Seen("folder", 0.0))

    def submit(self, key: str, home: str, task: Callable[..., Any], *options: Any) -> Any:
        del key
        if task is this_machine:
            return MACHINES[home]
        _, _, _, workers, stripes, _, _, self.machines = options
        self.planned_for.append(workers)
        return SimpleNamespace(plan=None, stripes=range(stripes))

    def gathering(self, futures: Sequence[Any]) -> Future[list[Any]]:
        done: Future[list[Any]] = Future()
        done.set_result(list(futures))
        return done


@pytest.mark.parametrize(
    ("looks", "planned_for"),
    [((TWO,), [2]), ((TWO, ONE), [2, 1]), ((TWO, NONE, ONE), [2, 1]), ((ONE, TWO), [1])],
)
def test_a_worker_that_ends_while_it_is_planned_has_no_stripe_of_the_plan(
    looks: Sequence[tuple[str, ...]], planned_for: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zvae_tiled.cluster.watch.ASSEMBLY", 0.0)
    crew: Any = Dwindling(looks)
    plan, workers = _planned(crew, Order("decode", "vae", "a.npy", "a.png"), 8, 8, None)
    assert crew.planned_for == planned_for
    assert len(plan.stripes) == planned_for[-1]
    assert set(workers._homes) <= set(looks[-1])


def test_a_plan_is_one_for_the_machines_of_all_members(monkeypatch: pytest.MonkeyPatch) -> None:
    crew: Any = Dwindling([TWO])
    order = Order("decode", "vae", "a.npy", "a.png", dtype="float32")
    _planned(crew, order, 8, 8, None)
    assert crew.machines == [MACHINES["a"], MACHINES["b"]]
    vae = SimpleNamespace(config=CONFIG, dtype=mx.float32, weight_bytes=0)
    monkeypatch.setattr("zvae_tiled.cluster.stripes.worker.held", lambda _: vae)
    plan = planned(order, 8, 8, 2, 2, 1 << 40, 1, crew.machines).plan
    assert plan.device == for_all(this_device(mx.float32), crew.machines)


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
