"""Rows as tables in Markdown; a figure that was not measured is a dash."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from zvae_tiled.report.figures import Row

Cell = Callable[[Row], str]

NOTHING = "Not run yet."

UNITS = ((1e9, "GB", 2), (1e6, "MB", 0), (0, "kB", 0))


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are figures."""
    rule = "|".join(["---", *("---:" for _ in heads[1:])])
    return "\n".join([f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def of_rows(rows: Iterable[Row], columns: dict[str, Cell]) -> str:
    """Return a table with a line a row."""
    return table(list(columns), ([cell(row) for cell in columns.values()] for row in rows))


def size(row: Row) -> str:
    """Return a picture's size."""
    shape = f"{row.width}²" if row.width == row.height else f"{row.width}×{row.height}"
    return shape + (f" ×{row.batch}" if row.batch > 1 else "")


def seconds(row: Row) -> str:
    """Return the median and the spread, or why there is none."""
    if row.seconds is None:
        return row.outcome
    if row.runs < 2 or row.spread is None:
        return f"{row.seconds:.1f}"
    return f"{row.seconds:.1f} ({row.spread[0]:.1f}–{row.spread[1]:.1f})"


def amount(value: float | None) -> str:
    """Return bytes in a unit that suits them."""
    if value is None:
        return "–"
    unit, name, digits = next(each for each in UNITS if value >= each[0])
    return f"{value / (unit or 1e3):,.{digits}f} {name}"


def times(value: float | None, by: float | None) -> str:
    """Return a ratio."""
    return f"{value / by:.2f}×" if value is not None and by else "–"


def slower(row: Row, base: Row | None) -> str:
    """Return a ratio of times, round by round: the median, and the spread where there were several rounds."""
    if base is None or row is base or not row.rounds or not base.rounds:
        return times(row.seconds, base.seconds if base else None)
    ratios = sorted(mine / its for mine, its in zip(row.rounds, base.rounds, strict=False))
    spread = f" ({ratios[0]:.2f}–{ratios[-1]:.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}×{spread}"


def small(value: float | None) -> str:
    """Return an error."""
    return "–" if value is None else f"{value:.1e}"


def decibel(row: Row) -> str:
    """Return signal to noise."""
    return "–" if row.psnr is None else f"{row.psnr:.1f} dB"


def seams(row: Row) -> str:
    """Return the seam score beside the reference's."""
    return "–" if row.seams is None else f"{row.seams[0]:.2f}, {row.seams[1]:.2f}"


def quality(row: Row) -> str:
    """Return the quality without the budget."""
    return row.quality.rpartition(", ")[0]


def budget(row: Row) -> str:
    """Return the budget without the quality."""
    return row.quality.rpartition(", ")[2]


def sizes(rows: Iterable[Row]) -> list[int]:
    """Return the widths there are, from small to large."""
    return sorted({row.width for row in rows})


def rate(row: Row) -> float:
    """Return operations a second."""
    return row.flops / row.seconds if row.flops and row.seconds else 0.0


def section(rows: Sequence[Row], columns: dict[str, Cell]) -> str:
    """Return a table with a line a row, and where the rows came from."""
    return f"{of_rows(rows, columns)}\n\n{where(rows)}" if rows else NOTHING


def where(rows: Sequence[Row]) -> str:
    """Return machine, versions, commits and days that rows came from, in one paragraph."""
    seen: dict[str, dict[Any, None]] = {}
    for row in rows:
        found = row.environment
        versions = found.get("versions", {})
        each = {
            "day": found.get("day"),
            "commit": found.get("commit"),
            "processor": found.get("processor"),
            "cores": found.get("cores"),
            "memory": f"{found['memory'] / 1e9:.0f} GB" if "memory" in found else None,
            "system": found.get("system"),
            "BLAS": found.get("blas") if found.get("blas") != "builtin" else None,
            "kernels": found.get("kernels"),
        }
        for name, value in (*each.items(), *versions.items()):
            if value is not None:
                seen.setdefault(name, {})[value] = None
    parts = [f"{name} {', '.join(map(str, values))}" for name, values in seen.items()]
    others = [row.environment["others"] for row in rows if "others" in row.environment]
    if others:
        parts.append(f"others took up to {max(others):.1%} of the cores")
    return "; ".join(parts) + "."
