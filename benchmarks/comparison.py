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


def compared(row: Row, file: Path, reference: Path, seams: Seams, clip: bool = False) -> Row:
    """Return the row with its picture's errors, as shares of the reference's range. The reference gets a note.

    Args:
        row: The row.
        file: Its picture.
        reference: The picture of the reference.
        seams: Where tiles meet.
        clip: Whether the reference was read from a file that holds no value outside [-1, 1]: then the picture is
            clipped like it.
    """
    if file == reference:
        return replace(row, note="the reference")
    picture, want = np.load(file), np.load(reference)
    if clip:
        picture = np.clip(picture, -1, 1)
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
