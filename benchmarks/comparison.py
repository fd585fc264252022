"""Pictures of several tools, compared: error, signal to noise, seams."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from zvae_tiled.metrics import max_error, psnr, steepest_seam
from zvae_tiled.selfbench import Row

Seams = tuple[list[int], list[int]]


def compared(rows: list[Row], pictures: list[Path], seams: list[Seams]) -> list[Row]:
    """Return the rows with errors against the first picture computed in float32, which is named as the reference."""
    there = [
        i for i, (row, path) in enumerate(zip(rows, pictures, strict=True)) if row.outcome == "ok" and path.exists()
    ]
    whole = [i for i in there if rows[i].dtype == "float32"]
    if not whole:
        return rows
    reference = np.load(pictures[whole[0]])
    span = float(reference.max() - reference.min())
    found = list(rows)
    for i in there:
        if i == whole[0]:
            found[i] = replace(rows[i], note="the reference")
            continue
        picture = np.load(pictures[i])
        has_seams = any(seams[i])
        found[i] = replace(
            rows[i],
            max_error=max_error(picture, reference) / span,
            psnr=psnr(picture, reference, span),
            seams=(steepest_seam(picture, *seams[i]), steepest_seam(reference, *seams[i])) if has_seams else None,
        )
    return found
