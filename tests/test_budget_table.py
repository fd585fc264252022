"""The README's table of budgets is what the planner predicts, and its sides are the largest that are kept in memory."""

from __future__ import annotations

import re

import pytest

from docs import budget_table
from zvae_tiled.devices.native_cpu.choice import native_status

STATED = budget_table.PAGE.read_text().partition(budget_table.BEGIN)[2].partition(budget_table.END)[0].splitlines()


@pytest.mark.skipif(
    budget_table.KERNELS["ZVAE_KERNELS"] not in native_status().runs, reason="this CPU cannot run the table's kernels"
)
@pytest.mark.parametrize(("machine", "line"), [*zip(budget_table.MACHINES, STATED[2:], strict=True)])
def test_a_row_is_what_the_planner_predicts(machine: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in budget_table.KERNELS.items():
        monkeypatch.setenv(name, value)
    (side,) = (int(found) for found in re.findall(r"\| (\d+)² \|", line))
    assert line == f"| {' | '.join(budget_table.row(machine, side))} |", "run python -m docs.budget_table"
    budget = budget_table.budget_of(machine)
    assert budget_table.is_kept(side, budget)
    assert not budget_table.is_kept(side + budget_table.STEP, budget)
