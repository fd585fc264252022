"""Prints rows of figures: predicted beside measured memory and time of decodes, and the speed of matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zvae_tiled.wording import duration, size

HEAD = f"{'picture':<12}  {'budget':>8}  memory predicted  measured  time predicted  measured"


def lines_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line for each row, of at most 80 columns, and a head above decodes.

    Args:
        rows: Rows as `zvae_tiled.report.figures` writes them.
    """
    decodes, lines = [], []
    for row in rows:
        if row["suite"] == "limit":
            lines.append(f"{row['tool']} in {row['dtype']}: {row['flops'] / row['seconds'] / 1e9:,.0f} GFLOP/s")
        else:
            decodes.append(_decode(row))
    return [*lines, *([HEAD] if decodes else []), *decodes]


def _decode(row: Mapping[str, Any]) -> str:
    budget = "ample" if row.get("budget") is None else size(row["budget"])
    return (
        f"{row['width']}x{row['height']}".ljust(12) + f"  {budget:>8}  {size(row['predicted_peak']):>16}  "
        f"{size(row['allocator_peak']):>8}  {duration(row['predicted_seconds']):>14}  {duration(row['seconds']):>8}"
    )
