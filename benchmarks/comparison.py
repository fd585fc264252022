"""Compares a picture with the reference of its race: error, signal-to-noise ratio, seams."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from zvae_tiled.report.figures import Row
from zvae_tiled.report.metrics import max_error, psnr, steepest_seam

Seams = tuple[list[int], list[int]]


def compared(row: Row, file: Path, reference: Path, seams: Seams) -> Row:
    """Return the row with its picture's errors, as shares of the reference's range. The reference gets a note."""
    if file == reference:
        return replace(row, note="the reference")
    picture, want = np.load(file), np.load(reference)
    span = float(want.max() - want.min())
    return replace(
        row,
        max_error=max_error(picture, want) / span,
        psnr=psnr(picture, want, span),
        seams=(steepest_seam(picture, *seams), steepest_seam(want, *seams)) if any(seams) else None,
    )
