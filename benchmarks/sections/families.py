"""Section on the race of families: each decode and encode of ours beside diffusers' of the same type."""

from __future__ import annotations

from benchmarks import store
from benchmarks.suites.families import PRESETS, TOOLS
from benchmarks.tables import NOTHING, amount, budget, of_rows, seconds, size, slower, small, times, where
from zvae_tiled.report.figures import Row


def families() -> str:
    """Return the section, with one table for decodes and one for encodes."""
    rows = store.read("families")
    tables = [
        f"**{task.capitalize()}**\n\n{_table([row for row in rows if row.tool.endswith(task)])}" for task in TOOLS
    ]
    return "\n\n".join([*tables, where(rows)]) if rows else NOTHING


def _table(rows: list[Row]) -> str:
    theirs = {(row.family, row.dtype): row for row in rows if row.tool.startswith("diffusers")}
    ours = [row for row in rows if not row.tool.startswith("diffusers")]
    order = {name: i for i, name in enumerate(PRESETS)}

    def peer(row: Row) -> Row | None:
        found = theirs.get((row.family, row.dtype))
        return found if found is not None and found.outcome == "ok" else None

    def raced(row: Row) -> str:
        found = theirs.get((row.family, row.dtype))
        return "–" if found is None else seconds(found)

    return of_rows(
        sorted(ours, key=lambda row: order.get(row.family, len(order))),
        {
            "VAE": lambda row: row.family,
            "picture": size,
            "type": lambda row: row.dtype,
            "budget": budget,
            "kernels": lambda row: str(row.environment["kernels"]),
            "diffusers": raced,
            "zvae_tiled": seconds,
            "time": lambda row: slower(row, peer(row)),
            "diffusers' process": lambda row: amount(getattr(peer(row), "footprint", None)),
            "zvae_tiled's process": lambda row: amount(row.footprint),
            "memory": lambda row: times(row.footprint, getattr(peer(row), "footprint", None)),
            "predicted": lambda row: amount(row.predicted_peak),
            "max error": lambda row: small(row.max_error),
            "diffusers' error": lambda row: (
                small(getattr(peer(row), "max_error", None)) if row.dtype != "float32" else "the reference"
            ),
        },
    )
