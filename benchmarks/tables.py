"""Formats rows as Markdown tables. A figure that was not measured is a dash."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from zvae_tiled.report.figures import Row

Cell = Callable[[Row], str]

NOTHING = "Not run yet."

UNITS = ((1e9, "GB", 2), (1e6, "MB", 0), (0, "kB", 0))


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table. The first column is text, the others are figures."""
    rule = "|".join(["---", *("---:" for _ in heads[1:])])
    return "\n".join([f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def of_rows(rows: Iterable[Row], columns: dict[str, Cell]) -> str:
    """Return a table with one line per row."""
    return table(list(columns), ([cell(row) for cell in columns.values()] for row in rows))


def size(row: Row) -> str:
    """Return a picture's size."""
    shape = f"{row.width}²" if row.width == row.height else f"{row.width}×{row.height}"
    return shape + (f" ×{row.batch}" if row.batch > 1 else "")


def seconds(row: Row) -> str:
    """Return the median and the spread, or the outcome if there is none."""
    if row.seconds is None:
        return row.outcome
    if row.runs < 2 or row.spread is None:
        return f"{row.seconds:.1f}"
    return f"{row.seconds:.1f} ({row.spread[0]:.1f}–{row.spread[1]:.1f})"


def amount(value: float | None) -> str:
    """Return bytes in a unit that fits their size."""
    if value is None:
        return "–"
    unit, name, digits = next(each for each in UNITS if value >= each[0])
    return f"{value / (unit or 1e3):,.{digits}f} {name}"


def times(value: float | None, by: float | None) -> str:
    """Return the ratio `value / by`."""
    return f"{value / by:.2f}×" if value is not None and by else "–"


def slower(row: Row, base: Row | None) -> str:
    """Return the ratio of times by round: the median, and with several rounds the spread."""
    if base is None or row is base or not row.rounds or not base.rounds:
        return times(row.seconds, base.seconds if base else None)
    ratios = sorted(mine / its for mine, its in zip(row.rounds, base.rounds, strict=False))
    spread = f" ({ratios[0]:.2f}–{ratios[-1]:.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}×{spread}"


def small(value: float | None) -> str:
    """Return an error."""
    return "–" if value is None else f"{value:.1e}"


def decibel(row: Row) -> str:
    """Return the PSNR in dB."""
    return "–" if row.psnr is None else f"{row.psnr:.1f} dB"


def seams(row: Row) -> str:
    """Return the seam score, and that of the reference."""
    return "–" if row.seams is None else f"{row.seams[0]:.2f}, {row.seams[1]:.2f}"


def quality(row: Row) -> str:
    """Return the quality without the budget."""
    return row.quality.rpartition(", ")[0]


def budget(row: Row) -> str:
    """Return the budget without the quality."""
    return row.quality.rpartition(", ")[2]


def sizes(rows: Iterable[Row]) -> list[int]:
    """Return the widths of the rows, in ascending order."""
    return sorted({row.width for row in rows})


def rate(row: Row) -> float:
    """Return operations per second."""
    return row.flops / row.seconds if row.flops and row.seconds else 0.0


def section(rows: Sequence[Row], columns: dict[str, Cell]) -> str:
    """Return a table with one line per row, and the source of the rows."""
    return f"{of_rows(rows, columns)}\n\n{where(rows)}" if rows else NOTHING


def where(rows: Sequence[Row]) -> str:
    """Return machines, versions, commits and days of the rows, in one paragraph."""
    seen: dict[str, dict[Any, None]] = {}
    for row in rows:
        env = row.environment
        versions = env.get("versions", {})
        each = {
            "day": env.get("day"),
            "commit": env.get("commit"),
            "card": env.get("card"),
            "processor": env.get("processor"),
            "cores": env.get("cores"),
            "memory": f"{env['memory'] / 1e9:.0f} GB" if "memory" in env else None,
            "system": env.get("system"),
            "BLAS": env.get("blas") if env.get("blas") != "builtin" else None,
            "kernels": env.get("kernels"),
        }
        for name, value in (*each.items(), *versions.items()):
            if value is not None:
                seen.setdefault(name, {})[value] = None
    parts = [f"{name} {', '.join(map(str, values))}" for name, values in seen.items()]
    others = [row.environment["others"] for row in rows if "others" in row.environment]
    if others:
        parts.append(f"others took up to {max(others):.1%} of the cores")
    return "; ".join(parts) + "."
