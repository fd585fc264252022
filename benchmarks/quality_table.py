"""The table of ``docs/quality.md``: written, read back, and made into what plans say of themselves."""

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
    """One decode beside the full one; errors are shares of the full decode's range.

    Attributes:
        quality: ``exact``, ``tiles`` or ``stream``.
        moments: As asked for; None where nothing was.
        overlap: Pixels that tiles share; None where there are none.
        error: The largest error.
        psnr: In dB.
        seams: The seam score, and the full decode's at the same places.
        shift: The largest shift of a tile's mean colour.
        seconds: Time.
        bytes: Measured and predicted peak.
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
        """Render a line of the table."""
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
    """Read the lines of a table back."""
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
    """Return what stands between the marks: where the figures come from, and the table."""
    head = f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}"
    return "\n".join([BEGIN, about, "", head, *map(str, rows), END])


def written(document: str, block: str) -> str:
    """Return a document with the block between its marks replaced."""
    before, rest = document.split(BEGIN)
    return before + block + rest.split(END)[1]


def measured(rows: list[Row], scale: int) -> dict[str, dict[int, float]]:
    """Return PSNRs by where moments came from (or ``stream``) and by overlap in latents."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        if row.quality != "exact":
            found.setdefault(row.moments or row.quality, {})[(row.overlap or 0) // scale] = round(row.psnr, 1)
    return found


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
