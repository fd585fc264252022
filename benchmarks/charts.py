"""Draws time and memory against the number of pixels, as SVG beside docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import store
from zvae_tiled.report.chart import line_chart
from zvae_tiled.report.figures import Row

TIME, MEMORY = "benchmarks-time.svg", "benchmarks-memory.svg"
FILES = {TIME: "Time against pixels", MEMORY: "Memory of the process against pixels"}


def charts() -> dict[str, str]:
    """Return the plots by file name. There are none without rows of the suite `scale`."""
    bands = [row for row in store.read("scale") if row.tool == "zvae_tiled" and row.seconds]
    peers = [row for row in store.read("peers") if row.dtype == "bfloat16" and row.seconds]
    if not bands:
        return {}
    lines = {
        "diffusers, full decode": [row for row in peers if row.tool == "diffusers, full"],
        "mflux, strips": [row for row in peers if row.tool == "mflux, strips"],
        "bands, ample budget": [row for row in bands if row.quality == "exact, ample"],
        "bands, budget of 1.5 GB": [row for row in bands if row.quality == "exact, 1.5GB"],
        "bands, smallest budget": [row for row in bands if row.quality == "exact, least"],
        "tiles of 256, moments per tile": [row for row in bands if row.quality.startswith("tiles")],
    }
    return {
        TIME: _chart(f"{FILES[TIME]}, bfloat16", "seconds", lines, lambda row: row.seconds or 0.0),
        MEMORY: _chart(f"{FILES[MEMORY]}, bfloat16", "MB", lines, lambda row: (row.footprint or 0) / 1e6),
    }


def _chart(title: str, unit: str, lines: dict[str, list[Row]], value: Callable[[Row], float]) -> str:
    drawn = {
        name: sorted((row.width * row.height / 1e6, value(row)) for row in rows) for name, rows in lines.items() if rows
    }
    return line_chart(title, "megapixels", unit, drawn, log="xy")
