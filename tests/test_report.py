"""The report on a terminal and in a notebook; and memory over time, noted while decoding."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import random_latents, random_vae
from tests.support.video import SMALL, video_latents, video_vae
from zvae_tiled import BudgetError, Progress, Report
from zvae_tiled.families.autoencoder_kl import AutoencoderKLConfig
from zvae_tiled.jobs.limits import _ONE_AT_A_TIME
from zvae_tiled.report import report
from zvae_tiled.report.chart import line_chart, linear, logarithmic
from zvae_tiled.report.report import Meter
from zvae_tiled.wording import size

VAE = random_vae(AutoencoderKLConfig(block_out_channels=(8, 8), norm_num_groups=2))
LATENTS = random_latents(VAE.config, 32, 40)
SVG = "{http://www.w3.org/2000/svg}"


def decoded(tmp_path: Path) -> Report:
    return VAE.decode_to_file(LATENTS, tmp_path / "a.npy", budget="10MB")


def test_the_timeline_goes_forward_and_its_highest_point_is_the_peak(tmp_path: Path) -> None:
    told = decoded(tmp_path)
    times = [seconds for seconds, _ in told.timeline]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= told.seconds
    assert max(size for _, size in told.timeline) == told.measured_peak
    assert min(size for _, size in told.timeline) >= VAE.weight_bytes


def test_predicted_and_measured_stand_side_by_side(tmp_path: Path) -> None:
    told = decoded(tmp_path)
    assert told.predicted_seconds == told.plan.predicted_seconds > 0
    lines = dict(
        line.split(maxsplit=1) for line in str(replace(told, predicted_seconds=115_791, seconds=120.0)).splitlines()
    )
    used = f"{size(told.predicted_peak)} predicted, {size(told.measured_peak)} measured, of the budget of 10 MB"
    assert lines["memory"] == used
    assert lines["time"].startswith("32 h predicted if idle, 2 min measured (")
    assert "went on" not in str(told)
    # A decode that went on is held to the rest of the work.
    told = replace(told, seconds=10.0, predicted_seconds=40.0)
    speed = told.plan.predicted_flops / 10 / 1e9
    rest = replace(told, went_on="at row 3 of 4", before=0.75)
    assert "went on    at row 3 of 4; 75% was done before" in str(rest)
    assert rest.time_line() == f"time       10 s predicted if idle, 10 s measured ({speed / 4:,.0f} GFLOP/s)"
    assert rest.to_dict()["before"] == 0.75


def test_a_long_timeline_is_thinned_and_keeps_its_peaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "POINTS", 5)
    told = decoded(tmp_path)
    assert 5 <= len(told.timeline) < 10
    assert max(size for _, size in told.timeline) == told.measured_peak


def test_progress_says_rows_and_memory(tmp_path: Path) -> None:
    heard: list[Progress] = []
    told = VAE.decode_to_file(LATENTS, tmp_path / "a.npy", budget="10MB", progress=heard.append)
    assert {each.height for each in heard} == {64}
    assert {each.rows for each in heard} >= {64}
    assert all(0 < each.rows <= 64 for each in heard)
    peaks = [each.peak for each in heard]
    assert min(each.memory for each in heard) > 0
    assert peaks == sorted(peaks)
    assert peaks[-1] <= told.measured_peak


@pytest.mark.slow
@pytest.mark.usefixtures("installed_bytecode")
def test_the_footprint_is_the_processes_own() -> None:
    code = """
import mlx.core as mx
from zvae_tiled import VAE
vae = VAE.demo()
_, report = vae.decode(mx.zeros((1, vae.config.latent_channels, 8, 8)), return_report=True)
print(report.footprint)
"""
    ballast = b"x" * (400 << 20)  # a mark that the child would inherit
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(child.stdout) < len(ballast) / 4


@pytest.mark.slow
def test_rows_are_measured_and_what_their_reader_allocates_is_not() -> None:
    latents = random_latents(VAE.config, 128, 8)
    with pytest.raises(BudgetError) as refused:
        VAE.prepare(latents, budget="1MB")
    heard: list[Progress] = []
    job = VAE.prepare(latents, budget=f"{refused.value.needed}B", progress=heard.append)

    def peak() -> int:
        assert job.report is not None
        return job.report.measured_peak

    for rows in job.rows():
        del rows
    alone = peak()
    assert VAE.weight_bytes + latents.nbytes < max(each.peak for each in heard) <= alone <= job.plan.predicted_peak
    kept = list(job.rows())
    assert len(kept) > 2
    assert peak() == alone, "of a reader that keeps them all"
    for _ in job.rows():
        if kept:
            kept.pop()  # held since before it began
        large = mx.ones((1 << 22,))
        mx.eval(large)
        del large
    assert peak() == alone
    assert job.array().nbytes < peak()


def test_what_stays_allocated_is_seen_though_nothing_is_allocated_later() -> None:
    meter = Meter(0)
    held = mx.zeros((1 << 20,))
    mx.eval(held)
    meter.host(100)
    told = meter.report(VAE.plan(8, 8))
    assert told.measured_peak >= (4 << 20) + 100, "held, beside the buffer that came later"
    assert told.timeline[-1][1] == (4 << 20) + 100
    del held


@pytest.mark.parametrize("job", ["array", "stream", "write", "frames"])
def test_peaks_are_reset_only_while_no_other_decode_runs(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the process: a thread that begins to decode would lower what another one has measured."""
    alone = []

    def reset() -> None:
        alone.append(_ONE_AT_A_TIME._is_owned())  # type: ignore[attr-defined]

    monkeypatch.setattr(report, "reset_peak", reset)
    video = video_vae(SMALL).video(video_latents(SMALL, 2, 3, 3))
    jobs: dict[str, Callable[[], object]] = {
        "array": lambda: VAE.decode(LATENTS),
        "stream": lambda: list(VAE.stream(LATENTS)),
        "write": lambda: video.write(tmp_path / "a.rgb"),
        "frames": lambda: list(video.frames()),
    }
    jobs[job]()
    assert alone
    assert all(alone)


def test_a_notebook_shows_the_table_and_a_chart_with_every_line(tmp_path: Path) -> None:
    told = replace(decoded(tmp_path), predicted_peak=1_500_000, budget=2_000_000)  # near enough to be drawn
    shown = told._repr_html_()
    assert shown.startswith("<pre>decoded    1 x 80x64, float32 on cpu")
    chart = ElementTree.fromstring(told.chart())
    names = [text.text or "" for text in chart.iter(f"{SVG}text")]
    assert [name for name in names if name.startswith(("measured", "predicted", "budget"))] == [
        "measured",
        "predicted peak, 1.5 MB",
        "budget, 2 MB",
    ]
    assert told.chart() in shown
    assert "timeline" not in repr(told)
    assert "Memory while decoding" in told.chart()
    encoded = replace(told, plan=replace(told.plan, case=replace(told.plan.case, task="encode")))
    assert "Memory while encoding" in encoded.chart()


def test_a_budget_far_above_does_not_flatten_the_chart(tmp_path: Path) -> None:
    told = replace(decoded(tmp_path), budget=1 << 40)
    assert "budget" not in told.chart()
    assert "measured" in replace(told, timeline=()).chart()


@given(
    st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)), min_size=1, max_size=40).map(sorted),
    st.sampled_from(["", "y", "xy"]),
)
def test_points_stay_inside_the_chart_and_in_order(
    points: list[tuple[float, float]], log: Literal["", "y", "xy"]
) -> None:
    chart = ElementTree.fromstring(line_chart("t", "x", "y", {"line": points}, log))
    (drawn,) = (path.attrib["d"] for path in chart.iter(f"{SVG}path") if path.get("fill") == "none")
    places = [tuple(map(float, place.split())) for place in drawn[1:].split("L")]
    assert all(0 <= x <= 770 and -330 <= y <= 0 for x, y in places)
    assert places == sorted(places, key=lambda place: place[0])
    (marks,) = (path.attrib["d"] for path in chart.iter(f"{SVG}path") if path.get("fill") not in (None, "none"))
    marked = [tuple(map(float, place.partition("m")[0].split())) for place in marks[1:].split("M")]
    *on_the_line, _ = marked  # the last one is beside the line's name
    assert set(on_the_line) <= set(places)
    assert 1 <= len(on_the_line) <= 12


def test_lines_differ_without_their_colours() -> None:
    lines = {str(i): [(0, i), (1, i + 1)] for i in range(6)}
    chart = ElementTree.fromstring(line_chart("t", "x", "y", lines))
    dashes = [path.get("stroke-dasharray") for path in chart.iter(f"{SVG}path") if path.get("fill") == "none"]
    shapes = [path.attrib["d"].partition("m")[2] for path in chart.iter(f"{SVG}path") if "m" in path.attrib["d"]]
    assert len(set(dashes)) == len({shape.partition("M")[0] for shape in shapes}) == len(lines)


@given(st.floats(1e-6, 1e12))
def test_marks_are_round_and_the_largest_value_is_near_the_last(largest: float) -> None:
    axis = linear(largest)
    marks = [value for value, _ in axis.marks]
    assert marks[0] == 0
    assert 3 <= len(marks) <= 7
    assert float(f"{marks[1]:.0e}") == pytest.approx(marks[1])
    assert f"{marks[1]:.0e}"[0] in "125"
    assert 0.5 < axis.share(largest) <= 1


def test_equal_ratios_are_equally_long() -> None:
    axis = logarithmic(0.3, 3e4)
    assert axis.marks[0] == (0.2, "0.2")
    assert axis.marks[-1] == (5e4, "50,000")
    assert axis.share(3.0) - axis.share(0.3) == pytest.approx(axis.share(3e4) - axis.share(3e3))
    assert axis.share(0.2) == 0
    assert axis.share(5e4) == pytest.approx(1)


def test_a_chart_escapes_what_it_says() -> None:
    chart = ElementTree.fromstring(line_chart("a & b", "<x>", "y", {'"<line>"': [(0, 0), (1, 2)]}))
    assert {"a & b", "<x>", '"<line>"'} <= {text.text for text in chart.iter(f"{SVG}text")}
