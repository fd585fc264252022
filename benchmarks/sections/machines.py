"""Section on other machines, from files that users sent."""

from __future__ import annotations

from benchmarks import store
from benchmarks.tables import amount, of_rows, rate, seconds, size


def sent() -> str:
    """Return the section on figures that users measured on other machines."""
    parts = []
    for environment, rows in store.sent():
        name = environment.get("device_name", environment.get("processor"))
        shown = of_rows(
            [row for row in rows if row.suite == "self"],
            {
                "picture": size,
                "budget": lambda row: "ample" if row.budget is None else amount(row.budget),
                "seconds (spread)": seconds,
                "allocator": lambda row: amount(row.allocator_peak),
                "predicted": lambda row: amount(row.predicted_peak),
            },
        )
        rates = ", ".join(f"{row.dtype} {rate(row) / 1e9:,.0f} GFLOP/s" for row in rows if row.suite == "limit")
        head = f"**{name}**, {environment['device']}, {environment['memory'] / 1e9:.0f} GB; products: {rates}"
        parts += [f"{head}; {environment['day']}, version {environment['version']}:", shown]
    return "\n\n".join(parts) or "None yet."
