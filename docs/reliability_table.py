"""Writes the table of ``docs/reliability.md`` from the counts of the campaign (``python -m tests.campaign``).

``python -m docs.reliability_table`` replaces what stands between the markers; a test holds the two together.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from docs.budget_table import END
from tests.campaign.counts import Count, alone, read_counts

PAGE = Path(__file__).parent / "reliability.md"
BEGIN = "<!-- from here on written by docs/reliability_table.py -->\n"


def main() -> None:
    """Write the page."""
    with alone():
        head, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(head + BEGIN + table() + END + rest.partition(END)[2])


def table() -> str:
    """Return one row a part of the campaign, and where the figures come from, as Markdown."""
    counts = read_counts()
    names = [
        "row",
        "what was tried",
        "aim",
        "tried in all",
        "failed, then mended",
        "last run: tried",
        "failed",
        "seed",
        "day",
        "version",
    ]
    rows = [names, ["---"] * 2 + ["---:"] * 6 + ["---"] * 2]
    rows += [_row(list(runs)) for _, runs in groupby(counts, key=lambda each: (each.row, each.part))]
    places: dict[str, set[str]] = {}
    for each in counts:
        places.setdefault(f"{each.machine}; {each.versions}", set()).add(each.row)
    where = [f"\nRuns of {', '.join(sorted(found))}: on {place}.\n" for place, found in sorted(places.items())]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows) + "".join(where)


def _row(runs: list[Count]) -> list[str]:
    last = runs[-1]
    aim = f"{last.aim:,}" if last.minutes is None else f"{last.aim} min"
    mended = sum(each.failed for each in runs[:-1])
    numbers = [aim, _tried(runs), f"{mended:,}", _tried(runs[-1:]), f"{last.failed:,}"]
    return [last.row, last.what, *numbers, f"{last.seed}", last.day, _version(last)]


def _version(run: Count) -> str:
    """Return the version of this package that was tried."""
    return run.versions.partition("zvae_tiled ")[2].partition(",")[0]


def _tried(runs: list[Count]) -> str:
    """Return how many were tried, and in how many minutes if that is the aim."""
    tried = f"{sum(each.tried for each in runs):,}"
    if runs[-1].minutes is None:
        return tried
    return f"{sum(each.minutes or 0 for each in runs):.0f} min, {tried}"


if __name__ == "__main__":
    main()
