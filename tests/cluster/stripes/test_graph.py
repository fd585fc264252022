"""The tasks of a striped picture can be carried out again: after any of them a worker may lose all that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from tests.cluster.stripes.test_bytes import Linear, Small, striped
from tests.engine.test_grain import Case
from tests.support.striped import Here, sent
from zvae_tiled.families import Task

LOST = object()


@dataclass
class Handle:
    """A task, and its result while a worker has it."""

    worker: int
    task: Callable[..., Any]
    options: tuple[Any, ...]
    result: Any = LOST


class Losing(Here):
    """Two workers. After a task the one that carried it out loses all results. What is needed is computed again."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.done = 0
        self._handles: list[Handle] = []

    def do(self, stripe: int, name: str, task: Callable[..., Any], *options: Any) -> Any:
        del name
        self._handles.append(Handle(stripe % 2, task, options))
        self.get(self._handles[-1:])
        return self._handles[-1]

    def get(self, handles: Sequence[Any]) -> list[Any]:
        return [self._result(handle) for handle in handles]

    def _result(self, handle: Handle) -> Any:
        while handle.result is LOST:
            handle.result = sent(handle.task(*map(self._given, handle.options)))
            self.done += 1
            if self.done == self.at:
                for each in self._handles:
                    each.result = LOST if each.worker == handle.worker else each.result
        return handle.result

    def _given(self, option: Any) -> Any:
        if isinstance(option, list):
            return [self._given(each) for each in option]
        return sent(self._result(option) if isinstance(option, Handle) else option)


ALL = 1 << 30


@pytest.mark.parametrize(
    ("kind", "task", "count"),
    [
        (Small, "decode", 2),
        (Small, "encode", 2),
        pytest.param(Small, "decode", ALL, marks=pytest.mark.slow),
        pytest.param(Linear, "decode", ALL, marks=pytest.mark.slow),
    ],
)
def test_a_loss_after_any_task_changes_no_byte(kind: type[Case], task: Task, count: int) -> None:
    def lost(at: int) -> tuple[bytes, int]:
        case, hands = kind(Random(3), "bfloat16", task), Losing(at)
        return striped(case, 2, hands), hands.done

    whole, tasks = lost(1 << 30)
    assert whole == kind(Random(3), "bfloat16", task).bytes()
    count, again = min(count, tasks), 0
    for nth in range(count):
        got, done = lost(1 + nth * (tasks - 1) // max(1, count - 1))
        assert got == whole
        again += done > tasks
    assert again
