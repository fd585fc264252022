"""Tables of budgets and sizes are what the planner predicts. A stated side is the largest that is kept in memory."""

from __future__ import annotations

import re

import pytest

from docs import budget_table, sizes_table
from zvae_tiled.devices.native_cpu.library import Library, open_library

STATED = budget_table.PAGE.read_text().partition(budget_table.BEGIN)[2].partition(budget_table.END)[0].splitlines()

LIBRARY = open_library()

pytestmark = pytest.mark.skipif(
    isinstance(LIBRARY, str) or budget_table.KERNELS["ZVAE_KERNELS"] not in LIBRARY.built,
    reason="the tables' kernels are not built for this CPU",
)


@pytest.fixture(autouse=True)
def tables_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(LIBRARY, Library)
    for name in budget_table.KERNELS:
        monkeypatch.setenv(name, "")  # what is changed now is undone
    monkeypatch.setattr(LIBRARY, "runs", LIBRARY.runs)
    budget_table.plan_for_that_cpu()


@pytest.mark.parametrize(
    ("machine", "line"), [*zip(budget_table.MACHINES, STATED[2:], strict=True)], ids=lambda value: str(value)[:6]
)
def test_a_row_is_what_the_planner_predicts(machine: int, line: str) -> None:
    (side,) = (int(found) for found in re.findall(r"\| (\d+)² \|", line))
    assert line == f"| {' | '.join(budget_table.row(machine, side))} |", "run python -m docs.budget_table"
    budget = budget_table.budget_of(machine)
    assert budget_table.is_kept(side, budget)
    assert not budget_table.is_kept(side + budget_table.STEP, budget)


def test_the_table_of_sizes_is_what_the_planner_predicts() -> None:
    page, table = sizes_table.PAGE.read_text(), sizes_table.table()
    assert page.count(sizes_table.BEGIN + table + budget_table.END) == 1, "run python -m docs.sizes_table"
