"""Plans quote their error from the table of docs/quality.md. The script that writes the table can read it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.quality_table import DOCS, MEASURED, Row, measured, module, parse, render, written
from tests.quality.test_grid import planned
from zvae_tiled.planner import measured as figures

ROWS = list(parse(DOCS.read_text()))


def test_plans_quote_the_table() -> None:
    assert {row.quality for row in ROWS} == {"exact", "stream", "tiles"}
    assert measured(ROWS, 8) == figures.MEASURED
    assert MEASURED.read_text() == module(figures.MEASURED)


def test_a_table_is_read_back_as_it_was_written() -> None:
    row = Row("tiles", "global", 104, 1.25e-7, 150.5, (1.32, float("inf")), 4.6e-10, 12.5, (16_400_000, 20_200_000))
    exact = Row("exact", None, None, 0.0, float("inf"), (1.0, 1.0), 0.0, 5.5, (16_600_000, 18_700_000))
    block = render("here", [row, exact])
    assert list(parse(block)) == [row, exact]
    assert written(f"a\n{render('there', [exact])}\nb", block) == f"a\n{block}\nb"
    assert [str(row) for row in ROWS] == [line for line in DOCS.read_text().splitlines() if list(parse(line))]


@pytest.mark.parametrize(
    ("asked", "source", "overlap"),
    [
        ({"quality": "stream"}, "stream", 0),
        ({"tile": 256, "overlap": 0}, "global", 0),
        ({"tile": 256, "overlap": 8}, "global", 0),
        ({"tile": 256, "overlap": 24}, "global", 2),
        ({"tile": 256, "overlap": 96}, "global", 8),
        ({"tile": 256, "overlap": 64, "moments": "proxy"}, "proxy", 8),
        ({"tile": 256, "overlap": 128, "moments": "tile"}, "tile", 13),
        ({"moments": "proxy"}, "proxy", 13),
    ],
)
def test_a_plan_quotes_the_row_with_no_more_overlap_than_it_has(
    asked: dict[str, Any], source: str, overlap: int
) -> None:
    plan = planned(128, 128, **asked)
    assert not plan.exact
    assert f"{figures.MEASURED[source][overlap]:.0f} dB" in plan.expected_error
    assert ("seams" in plan.expected_error) == (overlap == 0 and source != "stream")
