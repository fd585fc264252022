"""The plan of a striped picture is one for the workers that are there when the stripes are given out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from zvae_tiled.cluster.share import Share
from zvae_tiled.cluster.striped import _planned
from zvae_tiled.order import Order

TWO, ONE, NONE = ("a", "b"), ("b",), ()


class Dwindling:
    """A crew with other members at each look, and at last those of the last one. It notes for how many it plans."""

    name = "run"
    count = 2
    shares = {"here": Share(1, 1 << 33, "")}  # noqa: RUF012

    def __init__(self, looks: Sequence[tuple[str, ...]]) -> None:
        self._looks = list(looks)
        self.planned_for: list[int] = []

    def members(self) -> dict[str, float]:
        return dict.fromkeys(self._looks.pop(0) if len(self._looks) > 1 else self._looks[0], 0.0)

    def submit(self, key: str, home: str, task: Callable[..., Any], *options: Any) -> Any:
        del key, home, task
        _, _, _, workers, stripes, *_ = options
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
