"""Text for messages: numbers of bytes in decimal units, and lists that show only a few names."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 20
"""The most names that a message lists. The rest is counted."""

LETTERS = 120
"""The most characters of a name that a message shows, because names come from files."""

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def listed(names: Iterable[object], most: int = MOST) -> str:
    """Join names with commas. If there are more than `most`, count the rest: "a, b and 7 more"."""
    texts = [str(name) for name in names]
    shown = ", ".join(text if len(text) <= LETTERS else text[: LETTERS - 1] + "…" for text in texts[:most])
    return shown + (f" and {len(texts) - most:,} more" if len(texts) > most else "")


def size(count: float) -> str:
    """Write a number of bytes with a decimal unit: 340 MB, 1.54 GB."""
    for unit, name in _UNITS:
        if count >= 0.9995 * unit:
            value = count / unit
            return f"{value:,.0f} {name}" if value >= 99.95 or unit == 10**3 else f"{value:.3g} {name}"
    return f"{count:.0f} bytes"


def at_least(count: int) -> str:
    """Write a number of bytes rounded up to whole MB."""
    return f"{-(-count // 10**6):,} MB"


def budget_of(count: int) -> str:
    """Write a budget of at least `count` bytes, in the form that `parse_budget` reads: "413MB"."""
    return f"{-(-count // 10**6)}MB"
