"""The bytes that a striped picture moves, by the model, are those that its tasks take from other workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

from tests.cluster.stripes.test_bytes import Linear, Small, computed, planned
from tests.cluster.stripes.test_parts import random_case
from tests.engine.test_grain import Case
from tests.support.plans import TASKS
from tests.support.samples import Seeds
from tests.support.striped import Here
from zvae_tiled.cluster.stripes import tasks
from zvae_tiled.cluster.stripes.piece import Piece
from zvae_tiled.devices.here import this_device
from zvae_tiled.engine.moments import Merged
from zvae_tiled.families import Task
from zvae_tiled.planner.forecast import GBIT, forecast
from zvae_tiled.planner.region import Rows
from zvae_tiled.planner.striped_plan import striped_plan
from zvae_tiled.planner.stripes import edges, home, split
from zvae_tiled.planner.traffic import traffic


@dataclass(frozen=True, eq=False)
class Handle:
    """A result, and the worker that has it."""

    worker: int
    result: Any


class Moving(Here):
    """Counts the bytes that tasks take from other workers and from the client, and those that the client gets."""

    def __init__(self, stripes: int, workers: int) -> None:
        self.moved = Counter[str]()
        self._stripes, self._workers = stripes, workers
        self._arrived: set[tuple[int, int]] = set()
        self.tasks = 0

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        here = home(stripe, self._stripes, self._workers)
        self.tasks += 1
        if task is tasks.map_sums:
            self.moved["moments"] += bytes_of(options[-1])
        if task is tasks.sweep:
            *before, own, edges, keys, sums = options
            if isinstance(own, Piece):
                self.moved["given"] += bytes_of(own)
            options = (
                *before,
                self._taken("own", here, own),
                *(
                    [self._taken(name, here, each) for each in handles]
                    for name, handles in (("edges", edges), ("keys", keys), ("sums", sums))
                ),
            )
        else:
            kind = "sums" if task is tasks.summed else "own"
            options = tuple(self._taken(kind, here, each) for each in options)
        return Handle(here, task(*options))

    def get(self, handles: Sequence[Any]) -> list[Any]:
        for result in (handle.result for handle in handles):
            if isinstance(result, Piece):
                self.moved["rows"] += bytes_of(result)
            elif result is not None:
                self.moved["moments"] += bytes_of(result)
        return [handle.result for handle in handles]

    def _taken(self, kind: str, here: int, handle: Any) -> Any:
        if not isinstance(handle, Handle):
            return handle
        if handle.worker != here and (here, id(handle)) not in self._arrived:
            self._arrived.add((here, id(handle)))  # Dask keeps what has arrived
            self.moved[kind] += bytes_of(handle.result)
        return handle.result


def bytes_of(result: Any) -> int:
    if isinstance(result, Piece):
        return sum(strip.nbytes for strips in (result.value, *result.skips) for strip in strips)
    if isinstance(result, dict):
        return sum(map(bytes_of, result.values()))
    return int((result.mean if isinstance(result, Merged) else result.rows).nbytes)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", [Small, Linear])
@pytest.mark.sample(3)
def test_the_model_counts_the_bytes_and_the_tasks_of_a_run(kind: type[Case], task: Task, seeds: Seeds) -> None:
    for seed, (stripes, workers) in zip(seeds(2), [(5, 3), (3, 1)], strict=True):
        case = kind(Random(seed), "float32", task)
        plan = planned(case, stripes)
        hands = Moving(len(plan.stripes), workers)
        computed(case, plan, hands)
        model = traffic(plan, workers)
        kinds = ("own", "edges", "keys", "sums", "given", "moments", "rows")
        found = {kind: getattr(model, kind, 0) for kind in kinds}
        assert found == {kind: hands.moved[kind] for kind in kinds}, f"seed {seed}"
        assert model.tasks == hands.tasks
        assert (model.between == 0) == (min(workers, len(plan.stripes)) == 1)


def test_the_rows_of_other_stripes_are_all_that_a_stripe_reads_beyond_its_own() -> None:
    stripes = split(23, 7)
    for stripe, own in enumerate(stripes):
        read = Rows(max(0, 2 * own.first - 9), min(46, 2 * own.stop + 11))
        rows = [row for _, other in edges(stripes, 2, read, stripe) for row in range(*other)]
        assert rows == [row for row in range(*read) if not 2 * own.first <= row < 2 * own.stop]


def test_more_workers_take_less_time_each_and_move_more() -> None:
    case, device = replace(random_case(Random(1)), height=400, width=100), this_device()
    found = [forecast(striped_plan(case, device, n, n, 1 << 40, 1 << 20), n, GBIT) for n in (1, 2, 4, 8)]
    computing = [each.parts["computing"] for each in found]
    assert computing == sorted(computing, reverse=True)
    moved = [each.traffic.between for each in found]
    assert moved == sorted(set(moved))
    assert moved[0] == 0
    for each in found:
        assert each.seconds == sum(each.parts.values())
        assert each.parts[each.limit] == max(each.parts.values())


def test_workers_without_a_stripe_change_no_time() -> None:
    case, device = replace(random_case(Random(1)), height=400, width=100), this_device()
    plan = striped_plan(case, device, 4, 4, 1 << 40, 1 << 20)
    few = forecast(plan, 4, GBIT)
    assert few.traffic.keys
    assert few.traffic.edges
    assert forecast(plan, 100, GBIT).parts == few.parts
