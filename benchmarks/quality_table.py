"""Writes and parses the table of ``docs/quality.md``, and turns it into the planner's expected errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "quality.md"
MEASURED = ROOT / "zvae_tiled" / "planner" / "measured.py"

BEGIN, END = "<!-- written by benchmarks.quality -->", "<!-- end -->"
HEADS = (
    "quality",
    "moments",
    "overlap",
    "max error",
    "PSNR",
    "seam score, full decode's",
    "colour shift",
    "seconds",
    "peak, predicted",
)


@dataclass(frozen=True)
class Row:
    """One decode compared with the full decode. Errors are shares of the full decode's range.

    Attributes:
        quality: ``exact``, ``tiles`` or ``stream``.
        moments: The option ``moments`` of the tiles; None for other qualities.
        overlap: Pixels that neighbouring tiles share; None without tiles.
        error: The largest error.
        psnr: PSNR in dB.
        seams: The seam score, and that of the full decode at the same places.
        shift: The largest shift of a tile's mean colour.
        seconds: Duration.
        bytes: Measured and predicted peak in bytes.
    """

    quality: str
    moments: str | None
    overlap: int | None
    error: float
    psnr: float
    seams: tuple[float, float]
    shift: float
    seconds: float
    bytes: tuple[int, int]

    def __str__(self) -> str:
        """Return the row as a line of the table."""
        cells = (
            self.quality,
            self.moments or "–",
            "–" if self.overlap is None else f"{self.overlap} px",
            f"{self.error:.2e}",
            f"{self.psnr:.1f} dB",
            "{:.2f}, {:.2f}".format(*self.seams),
            f"{self.shift:.1e}",
            f"{self.seconds:.1f}",
            "{:.1f}, {:.1f} MB".format(*(size / 1e6 for size in self.bytes)),
        )
        return f"| {' | '.join(cells)} |"


def parse(text: str) -> Iterator[Row]:
    """Yield the rows of a table."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if len(cells) != len(HEADS) or cells[0] not in ("exact", "tiles", "stream"):
            continue
        numbers = [[float(number) for number in re.findall(r"[-+.\de]+|inf", cell)] for cell in cells[2:]]
        overlap, (error,), (psnr,), (seam, full), (shift,), (seconds,), (peak, predicted) = numbers
        yield Row(
            quality=cells[0],
            moments=None if cells[1] == "–" else cells[1],
            overlap=int(overlap[0]) if overlap else None,
            error=error,
            psnr=psnr,
            seams=(seam, full),
            shift=shift,
            seconds=seconds,
            bytes=(round(peak * 1e6), round(predicted * 1e6)),
        )


def render(about: str, rows: list[Row]) -> str:
    """Return the block between the marks: the source of the figures, and the table."""
    head = f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}"
    return "\n".join([BEGIN, about, "", head, *map(str, rows), END])


def written(document: str, block: str) -> str:
    """Return the document with the block between its marks replaced."""
    before, rest = document.split(BEGIN)
    return before + block + rest.split(END)[1]


def measured(rows: list[Row], scale: int) -> dict[str, dict[int, float]]:
    """Return PSNRs by source of the moments (or ``stream``), and by overlap in latents."""
    figures: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.quality != "exact":
            figures.setdefault(row.moments or row.quality, {})[(row.overlap or 0) // scale] = round(row.psnr, 1)
    return figures


def module(figures: dict[str, dict[int, float]]) -> str:
    """Return the source of `zvae_tiled.planner.measured`."""
    lines = [f'    "{name}": {levels},' for name, levels in figures.items()]
    return "\n".join(
        [
            '"""PSNR of decodes in tiles and streams. Written by ``python -m benchmarks.quality``: do not edit."""',
            "",
            "MEASURED: dict[str, dict[int, float]] = {",
            *lines,
            "}",
            '"""PSNR in dB, by source of the moments (or ``stream``) and by overlap in latents: docs/quality.md."""',
            "",
        ]
    )
