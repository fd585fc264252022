"""From rows to pages: the figures stand between the markers, and the rest of the page does not change."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import report, store
from benchmarks.case import Case, Sample
from benchmarks.charts import charts
from benchmarks.runner import row_of
from benchmarks.tables import amount, seconds, size, slower, times
from zvae_tiled.report.figures import Row


def row(**values: object) -> Row:
    given = {"suite": "speed", "tool": "zvae_tiled", "family": "z-image", "height": 512, "width": 256}
    return Row(**{**given, "dtype": "bfloat16", "quality": "exact, ample", **values})  # type: ignore[arg-type]


def test_rows_are_kept_and_replaced(tmp_path: Path) -> None:
    store.write("speed", [row(seconds=2.0, runs=1, spread=(2.0, 2.0)), row(width=64)], tmp_path)
    newer = row(seconds=3.0, runs=1, spread=(3.0, 3.0), rounds=(3.0,), seams=(1.0, 1.5))
    store.write("speed", [newer], tmp_path)
    assert store.read("speed", tmp_path) == [row(width=64), newer]
    elsewhere = row(environment={"processor": "another", "cores": 8})
    store.write("speed", [elsewhere], tmp_path)
    assert store.read("speed", tmp_path) == [elsewhere], "ratios are of one machine"
    assert store.read("peers", tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["speed.jsonl"]


def test_rounds_become_a_median_and_a_spread() -> None:
    samples = [Sample(seconds=taken, allocator_peak=peak, footprint=9) for taken, peak in ((3, 5), (1, 7), (2, 6))]
    made = row_of(Case("speed", "ours", 64, 64), samples)
    assert (made.seconds, made.spread, made.rounds, made.runs, made.allocator_peak) == (2, (1, 3), (3, 1, 2), 3, 7)
    failed = row_of(Case("speed", "ours", 64, 64), [*samples[:2], Sample(outcome="out of memory")])
    assert (failed.outcome, failed.seconds) == ("out of memory", None), "a round that failed is not hidden"
    assert seconds(failed) == "out of memory"


def test_a_ratio_is_that_of_the_rounds() -> None:
    base = row(seconds=2.0, rounds=(1.0, 2.0, 4.0))
    assert slower(row(seconds=4.0, rounds=(2.0, 3.0, 12.0)), base) == "2.00× (1.50–3.00)"
    assert slower(row(seconds=4.0, rounds=(4.0,)), base) == "4.00×", "the first round's partner is the first"
    assert slower(row(seconds=4.0), row(seconds=2.0)) == "2.00×"
    assert slower(base, base) == "1.00×"
    assert slower(row(), base) == slower(base, None) == "–"


def test_figures_as_words() -> None:
    assert size(row()) == "256×512"
    assert size(row(height=256, batch=2)) == "256² ×2"
    assert seconds(row(seconds=2.0, spread=(1.0, 3.0), runs=3)) == "2.0 (1.0–3.0)"
    assert [amount(value) for value in (None, 12_345, 12_345_678, 1_234_567_890)] == ["–", "12 kB", "12 MB", "1.23 GB"]
    assert times(1.0, 4.0) == "0.25×"
    assert times(1.0, None) == "–"


def test_only_what_is_between_markers_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(report.SECTIONS, "speed", lambda: r"| \1 | new |")
    text = "before\n<!-- figures: speed -->\n| old |\n<!-- end of figures -->\nafter\n"
    assert report.filled(text) == text.replace("| old |", r"| \1 | new |")
    assert report.filled(report.filled(text)) == report.filled(text)


def test_every_section_has_its_place_and_every_place_its_section() -> None:
    marked = [name for page in report.PAGES for name in re.findall(r"<!-- figures: (\w+) -->", page.read_text())]
    assert sorted(marked) == sorted(report.SECTIONS)


def test_what_is_on_the_pages_is_what_was_measured() -> None:
    for page in report.PAGES:
        text = page.read_text()
        assert report.filled(text) == text, f"{page.name} was edited by hand, or is old: python -m benchmarks report"
    for name, chart in charts().items():
        assert (report.ROOT / "docs" / name).read_text() == chart, f"{name} is old: python -m benchmarks report"


def test_a_file_that_was_sent_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.sections.machines import sent

    (tmp_path / "sent").mkdir()
    where = {"device": "metal", "device_name": "Apple M9", "memory": 16e9, "day": "2026-11-21", "version": "1"}
    rows = [
        {"suite": "self", "tool": "zvae_tiled", "family": "z-image", "height": 256, "width": 256, "dtype": "bfloat16"}
    ]
    found = {"format": 1, "environment": where, "rows": [{**rows[0], "seconds": 1.5, "spread": [1.0, 2.0], "runs": 3}]}
    (tmp_path / "sent" / "m9.json").write_text(json.dumps(found))
    monkeypatch.setattr(store, "FOLDER", tmp_path)
    monkeypatch.setattr(store.sent, "__defaults__", (tmp_path,))
    assert "Apple M9" in sent()
    assert "| 256² | ample | 1.5 (1.0–2.0) |" in sent()


def test_a_peer_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import child
    from benchmarks.case import Files

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {absent!r}", name=absent)

    monkeypatch.setattr(child, "import_module", missing)
    absent = "mflux"
    answer = child.answer(Case("peers", "mflux_vae", 64, 64), Files())
    assert answer.outcome == "not run: mflux is not installed"
    absent = "benchmarks.tools.mflux_vae"
    with pytest.raises(ModuleNotFoundError):
        child.answer(Case("peers", "mflux_vae", 64, 64), Files())
