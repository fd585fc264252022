"""Compares a picture with the reference of its race: error, signal-to-noise ratio, seams."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from zvae_tiled.report.figures import Row
from zvae_tiled.report.metrics import colour_shift, max_error, psnr, steepest_seam

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
        shift=shift(picture, want, seams) / span,
        seams=(steepest_seam(picture, *seams), steepest_seam(want, *seams)) if any(seams) else None,
    )


def shift(picture: np.ndarray[Any, Any], want: np.ndarray[Any, Any], seams: Seams) -> float:
    """Return the largest change of the mean colour between two seams."""
    most = 0.0
    for top, bottom in pairwise((0, *seams[0], picture.shape[1])):
        for left, right in pairwise((0, *seams[1], picture.shape[2])):
            tile, judge = (each[:, top:bottom, left:right] for each in (picture, want))
            most = max(most, colour_shift(tile, judge).mean)
    return most
