"""The memory suite itself: it measures real memory, and reports an engine that keeps one copy too many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from benchmarks import baselines
from benchmarks.case import Sample
from benchmarks.runner import Group, Machine, row_of, run_group
from benchmarks.suites import families, memory
from zvae_tiled.families import FAMILIES, config_of
from zvae_tiled.planner.ends import PROCESS
from zvae_tiled.report.figures import Row

CASE = next(case for case in memory.cases(quick=True) if case.dtype == "float32" and case.budget == "least")


def measured(module: str) -> Row:
    machine = Machine(limit=4 << 30, environment=memory.ENVIRONMENT, module=module)
    (row,) = run_group(Group((CASE,)), machine)
    return row


@pytest.fixture(scope="module")
def honest() -> Row:
    return measured("benchmarks.child")


@pytest.mark.slow
def test_this_version_passes(honest: Row) -> None:
    assert list(baselines.faults([honest], baselines.read())) == []
    assert honest.footprint is not None
    assert honest.allocator_peak is not None
    assert honest.footprint > 0.8 * honest.allocator_peak, "the process holds what the allocator gave"


@pytest.mark.slow
def test_a_copy_of_each_band_is_a_fault() -> None:
    found = list(baselines.faults([measured("tests.benchmarks.clumsy")], baselines.read()))
    assert any("compared with the baseline of" in line for line in found), found
    assert any("its prediction" in line for line in found), found


def test_a_child_that_dies_is_a_fault() -> None:
    (line,) = baselines.faults([measured("tests.benchmarks.no_such_module")], baselines.read())
    assert "died" in line


def rows(peak: int, predicted: int, budget: int | None) -> Iterator[Row]:
    row = Row("memory", "zvae_tiled", "z-image", 8, 8, "float32", environment={"device": "cpu", "kernels": "mlx"})
    yield replace(row, allocator_peak=peak, predicted_peak=predicted + PROCESS, budget=budget)


@pytest.mark.parametrize(
    ("peak", "predicted", "budget", "faults"),
    [
        (1050, 2000, None, 0),
        (1051, 2000, 3000, 1),
        (1000, 1000, 1000, 0),
        (1001, 1000, 3000, 1),
        (1001, 2000, 1000, 1),
        (2000, 1000, 1000, 3),
        (1, 1000, 1000, 0),
    ],
)
def test_limits(peak: int, predicted: int, budget: int | None, faults: int) -> None:
    known = {baselines.name(row): baselines.Baseline(peak=1000, predicted=1000) for row in rows(0, 0, 0)}
    assert len(list(baselines.faults(rows(peak, predicted, budget), known))) == faults


def test_what_has_no_baseline_is_a_fault() -> None:
    (line,) = baselines.faults(rows(1, 1, 1), {})
    assert "--update-baseline" in line


def test_an_update_shows_and_keeps(tmp_path: Path) -> None:
    file = tmp_path / "baselines.json"
    other = {"other": baselines.Baseline(peak=1, predicted=2)}
    baselines.update(rows(1000, 1100, None), other, file)
    before = baselines.read(file)
    assert before == {**other, baselines.name(next(rows(0, 0, 0))): {"peak": 1000, "predicted": PROCESS + 1100}}
    assert list(baselines.differences(rows(1000, 1100, None), before)) == []
    (line,) = baselines.differences(rows(1200, 1300, None), before)
    assert "1,000 -> 1,200 (+20.00%)" in line


def test_every_case_of_the_matrix_has_a_baseline() -> None:
    known = baselines.read()
    for case in memory.cases(quick=False):
        where = {"device": "cpu", "kernels": case.kernels or "mlx"}
        assert baselines.name(row_of(case, [Sample(environment=where)])) in known


@pytest.mark.parametrize("quick", [True, False])
def test_every_family_is_measured_at_published_width(quick: bool) -> None:
    measured = {(case.config.class_name, case.tool) for case in memory.cases(quick) if not case.widths}
    assert measured == set(product(FAMILIES, ("ours", "ours_encode")))


def test_every_family_is_raced() -> None:
    networks = {name for name, family in FAMILIES.items() if family.config().chain("decode").steps}
    assert {config_of(preset).class_name for preset in families.PRESETS} == networks
